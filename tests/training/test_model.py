import inspect
import json

import pytest
import torch

from ray_slm.training import checkpoint, packing
from ray_slm.training.attention import attention_over, kernel_for
from ray_slm.training.model import Llama, config_json, initialized, llama_config, open_model
from ray_slm.training.scale import LAPTOP, MEDIUM, SMALL
from tests.training.conftest import TINY


def alone(ids):
    """Ids as one row of one document."""
    ids_BT = torch.tensor([ids])
    return ids_BT, torch.arange(len(ids))[None], torch.zeros_like(ids_BT)


def published(model, scale, folder):
    checkpoint.publish(
        folder,
        folder.with_suffix(".tmp"),
        model.state_dict(),
        config_json(scale, 20),
        {},
    )
    return folder


@pytest.mark.parametrize("scale", [TINY, LAPTOP, SMALL, MEDIUM], ids=lambda scale: scale.name)
def test_hugging_face_opens_a_published_model_and_gives_the_same_logits(scale, tmp_path):
    from transformers import LlamaForCausalLM

    model = initialized(scale, 20, seed=3)
    folder = published(model, scale, tmp_path / "model")
    reference = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.randint(0, 20, (2, 40), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(40).expand(2, 40)
    with torch.no_grad():
        ours = model(ids, positions, torch.zeros_like(ids))
        theirs = reference(ids).logits
        reopened = open_model(folder)(ids, positions, torch.zeros_like(ids))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert torch.equal(reopened, ours)


def test_every_layer_is_that_of_hugging_face(run):
    from transformers import LlamaForCausalLM

    model = initialized(run().scale, 20, seed=3)
    reference = LlamaForCausalLM(llama_config(run().scale, 20)).eval()
    reference.load_state_dict(model.state_dict())
    inputs = alone(list(range(20)))
    with torch.no_grad():
        ours = model.hidden(*inputs)
        theirs = reference(inputs[0], output_hidden_states=True).hidden_states
    assert len(ours) == model.num_layers + 1 == len(theirs)
    for mine, its in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.final_norm(ours[-1]), theirs[-1], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.head(model.final_norm(ours[-1])), model(*inputs))


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
def test_documents_of_a_row_do_not_see_each_other(kernel, run):
    model = initialized(run().scale, 20, seed=3)
    model.kernel = kernel
    first, second = [20, 1, 2, 3], [20, 7, 5]
    ids = torch.tensor([[*first, *second, 22]])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0]])
    document = torch.tensor([[0, 0, 0, 0, 1, 1, 1, -1]])
    with torch.no_grad():
        together = model(ids, positions, document)[0]
        apart = torch.cat([model(*alone(first))[0], model(*alone(second))[0]])
    torch.testing.assert_close(together[:7], apart, atol=1e-6, rtol=1e-5)
    assert together.isfinite().all()


def test_no_token_sees_the_future(run):
    model = initialized(run().scale, 20, seed=3)
    with torch.no_grad():
        short, long = model(*alone([20, 1, 2])), model(*alone([20, 1, 2, 9, 9]))
    torch.testing.assert_close(long[:, :3], short, atol=1e-6, rtol=1e-5)


def test_blocks_of_queries_change_nothing(run, monkeypatch):
    model = initialized(run().scale, 20, seed=3)
    ids = torch.randint(0, 20, (2, 50), generator=torch.Generator().manual_seed(0))
    document = (torch.arange(50) // 20).expand(2, 50)
    positions = (torch.arange(50) % 20).expand(2, 50)
    with torch.no_grad():
        whole = model(ids, positions, document)
        monkeypatch.setattr("ray_slm.training.attention.QUERY_BLOCK", 16)
        torch.testing.assert_close(model(ids, positions, document), whole, atol=1e-6, rtol=1e-5)


def test_bf16_stays_near_fp32(run):
    model = initialized(run().scale, 20, seed=3)
    inputs = alone([20, 1, 2, 3, 4, 5])
    with torch.no_grad():
        exact = model(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(*inputs).float()
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0.05)


def test_initialization_follows_tinyllama_and_the_seed():
    model = initialized(LAPTOP, 78, seed=0)
    expected = {
        "model.embed_tokens.weight": (2 / (5 * 128)) ** 0.5,
        "model.layers.1.self_attn.q_proj.weight": (2 / (5 * 128)) ** 0.5,
        "model.layers.3.mlp.down_proj.weight": 1 / (4 * 128**0.5),
        "model.layers.0.self_attn.o_proj.weight": 1 / (4 * 128**0.5),
    }
    weights = model.state_dict()
    for name, std in expected.items():
        assert float(weights[name].std()) == pytest.approx(std, rel=0.03)
    assert (weights["model.norm.weight"] == 1).all()
    again, other = initialized(LAPTOP, 78, seed=0), initialized(LAPTOP, 78, seed=1)
    assert all(torch.equal(weights[n], w) for n, w in again.state_dict().items())
    assert not torch.equal(weights["lm_head.weight"], other.lm_head.weight)


def test_one_seed_gives_every_vocabulary_the_same_layers():
    small, large = (
        initialized(LAPTOP, 78, 0).state_dict(),
        initialized(LAPTOP, 2048, 0).state_dict(),
    )
    layers = [name for name in small if ".layers." in name]
    assert len(layers) == 4 * 9
    assert all(torch.equal(small[name], large[name]) for name in layers)


def test_initialization_leaves_the_global_generator_alone(run):
    before = torch.get_rng_state()
    initialized(run().scale, 20, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_a_llama_with_other_parts_is_refused(run, tmp_path):
    folder = published(initialized(run().scale, 20, 0), run().scale, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for change in ({"attention_bias": True}, {"rope_parameters": {"rope_type": "llama3"}}):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match="the lean model lacks"):
            open_model(folder)


def test_kernels_are_chosen_by_device_and_precision():
    assert kernel_for(torch.device("cpu"), torch.bfloat16) == "matmul"
    assert kernel_for(torch.device("cuda"), torch.bfloat16) == "varlen"
    assert kernel_for(torch.device("cuda"), torch.float32) == "sdpa"
    with pytest.raises(ValueError, match="'matmul', 'sdpa' or 'varlen'"):
        attention_over(torch.zeros(1, 2), "flash", torch.float32)


def test_variable_length_attention_is_cut_where_documents_change(monkeypatch):
    """The kernel needs a GPU; what it is asked for does not: each stretch is attended alone."""
    from torch.nn.attention import varlen

    def stand_in(q, k, v, bounds, same_bounds, max_q, max_k, *, window_size, enable_gqa):
        assert enable_gqa
        assert torch.equal(bounds, same_bounds)
        assert bounds.dtype == torch.int32
        assert window_size == (-1, 0)
        assert bounds.diff().max() <= max_q == max_k
        stretches = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        parts = [tuple(x[a:b].transpose(0, 1) for x in (q, k, v)) for a, b in stretches]
        attend = torch.nn.functional.scaled_dot_product_attention
        attended = [attend(*part, is_causal=True, enable_gqa=True) for part in parts]
        return torch.cat([part.transpose(0, 1) for part in attended])

    inspect.signature(varlen.varlen_attn).bind(*"qkvbbmm", window_size=(-1, 0), enable_gqa=True)
    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    document_BT = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 1, 2, 2, 2]])
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 4, 8, generator=generator)
    k, v = torch.randn(2, 2, 6, 2, 8, generator=generator)
    results = [
        attention_over(document_BT, kernel, torch.float32)(q, k, v)
        for kernel in ("varlen", "sdpa", "matmul")
    ]
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(results[2], results[1], atol=1e-6, rtol=1e-5)
    bounds = torch.from_numpy(packing.bounds(document_BT.numpy()))  # as the loader hands them over
    told = attention_over(document_BT, "varlen", torch.float32, bounds)(q, k, v)
    assert torch.equal(told, results[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_variable_length_kernel_agrees_with_the_reference():
    model = Llama(LAPTOP, 128).cuda()
    ids = torch.randint(0, 20, (2, 256), device="cuda")
    document = (torch.arange(256, device="cuda") // 90).expand(2, 256)
    positions = (torch.arange(256, device="cuda") % 90).expand(2, 256)
    logits = {}
    for kernel in ("sdpa", "varlen"):
        model.kernel = kernel
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            logits[kernel] = model(ids, positions, document).float()
    torch.testing.assert_close(logits["varlen"], logits["sdpa"], atol=0.05, rtol=0.05)
