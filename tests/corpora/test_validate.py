import hashlib
import struct

import numpy as np
import pytest
import soundfile

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.corpora.validate import BadItem, decode, transcript


@pytest.fixture
def noise():
    """One second, float32."""
    return np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def refusal(call, *arguments):
    with pytest.raises(BadItem) as caught:
        call(*arguments)
    return caught.value.reason, str(caught.value)


def written(path, samples, rate=16_000, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def streaminfo_samples(path, num_samples):
    """Make a FLAC header say another number of samples."""
    raw = bytearray(path.read_bytes())
    packed = int.from_bytes(raw[18:26], "big") >> 36 << 36 | num_samples
    raw[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_16_bit_audio_at_16_khz_comes_out_bit_by_bit(tmp_path, noise, suffix):
    pcm = np.round(noise * 32767).astype(np.int16)
    samples = decode(written(tmp_path / f"a{suffix}", pcm))
    assert samples.dtype == np.float32
    assert np.array_equal(samples * 32768, pcm)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "PCM_U8"])
def test_other_sample_formats_are_read(tmp_path, noise, subtype):
    samples = decode(written(tmp_path / "a.wav", noise, subtype=subtype))
    assert np.abs(samples - noise).max() < 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_without_moving_anything(tmp_path, rate):
    def tone(rate):
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    samples = decode(written(tmp_path / "a.wav", tone(rate), rate=rate))
    assert abs(len(samples) - 16_000) <= 1
    assert np.abs(samples[500:15_500] - tone(16_000)[500:15_500]).max() < 1e-3


def test_half_a_flac_is_unreadable(tmp_path, noise):
    path = written(tmp_path / "a.flac", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason, message = refusal(decode, path)
    assert reason == "AUDIO_UNREADABLE"
    assert "decod" in message


def test_half_a_wav_is_unreadable_though_decoders_pass_over_it(tmp_path, noise):
    path = written(tmp_path / "a.wav", noise)
    path.write_bytes(path.read_bytes()[: 44 + 16_000])
    assert len(soundfile.read(path)[0]) == 8_000
    assert refusal(decode, path) == (
        "AUDIO_UNREADABLE",
        "the file breaks off: 16000 of 32000 bytes of audio are there",
    )


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read_whole(tmp_path, noise):
    path = written(tmp_path / "a.wav", noise)
    raw = bytearray(path.read_bytes())
    raw[4:8] = raw[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(raw)
    assert len(decode(path)) == 16_000


@pytest.mark.parametrize("told", [8_000, 160_000])
def test_a_flac_header_that_lies_about_its_length_is_found_out(tmp_path, noise, told):
    path = streaminfo_samples(written(tmp_path / "a.flac", noise), told)
    assert soundfile.info(path).frames == told
    assert refusal(decode, path)[0] == "AUDIO_UNREADABLE"


def test_a_flac_whose_samples_are_not_those_of_its_sum_is_unreadable(tmp_path, noise):
    path = written(tmp_path / "a.flac", noise)
    raw = bytearray(path.read_bytes())
    raw[26:42] = hashlib.md5(b"other").digest()
    path.write_bytes(raw)
    reason, message = refusal(decode, path)
    assert reason == "AUDIO_UNREADABLE"
    assert hashlib.md5(b"other").hexdigest() in message


@pytest.mark.parametrize(
    "content",
    [b"<html><body>Not found</body></html>", np.random.default_rng(1).bytes(50_000), b"ID3\x03"],
)
def test_what_is_neither_wav_nor_flac_is_unreadable(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    reason, message = refusal(decode, path)
    assert reason == "AUDIO_UNREADABLE"
    assert "neither WAV nor FLAC" in message


@pytest.mark.parametrize("magic", [b"RIFF", b"fLaC", b"RF64"])
def test_random_bytes_behind_a_good_beginning_are_unreadable(tmp_path, magic):
    path = tmp_path / "a.wav"
    path.write_bytes(magic + np.random.default_rng(2).bytes(10_000))
    assert refusal(decode, path)[0] == "AUDIO_UNREADABLE"


def test_a_missing_file(tmp_path):
    reason, message = refusal(decode, tmp_path / "a.wav")
    assert reason == "AUDIO_MISSING"
    assert "a.wav" in message


@pytest.mark.parametrize("num_samples", [0, 1, 399])
def test_audio_without_a_frame_is_empty(tmp_path, noise, num_samples):
    assert refusal(decode, written(tmp_path / "a.wav", noise[:num_samples]))[0] == "AUDIO_EMPTY"


def test_a_file_without_bytes_is_empty(tmp_path):
    (tmp_path / "a.flac").touch()
    assert refusal(decode, tmp_path / "a.flac") == ("AUDIO_EMPTY", "the file has no bytes")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path, noise, value):
    noise[123] = value
    reason, message = refusal(decode, written(tmp_path / "a.wav", noise, subtype="FLOAT"))
    assert reason == "AUDIO_NAN"
    assert "sample 123" in message


def test_samples_on_another_scale_are_refused_and_overshoot_is_not(tmp_path, noise):
    loud = written(tmp_path / "a.wav", noise * 32768, subtype="FLOAT")
    assert refusal(decode, loud)[0] == "AUDIO_RANGE"
    noise[0] = 1.3
    assert decode(written(tmp_path / "b.wav", noise, subtype="FLOAT"))[0] == pytest.approx(1.3)


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_with_or_without_an_offset(tmp_path, level):
    silence = np.full(16_000, level, np.float32)
    silence[::2] += 2e-4
    reason, message = refusal(decode, written(tmp_path / "a.wav", silence))
    assert reason == "AUDIO_SILENT"
    assert "of full scale" in message


def test_several_channels_are_refused_not_averaged(tmp_path, noise):
    reason, message = refusal(decode, written(tmp_path / "a.wav", np.stack([noise, -noise], 1)))
    assert reason == "AUDIO_CHANNELS"
    assert "2 channels" in message


def test_length_is_limited_to_the_sample(tmp_path, noise):
    path = written(tmp_path / "a.flac", noise)
    assert len(decode(path, max_seconds=1.0)) == 16_000
    assert refusal(decode, path, 0.99) == ("AUDIO_TOO_LONG", "1.000 s; at most 0.990 s are used")


def test_text_in_our_symbols_is_left_alone():
    text = "".join(TEXT_SYMBOLS[:62]) + " and the rest: '(<[/]>)\",.;?!"
    assert transcript(text.encode()) == (text, 0)


def test_typographic_marks_are_mapped_and_silent_ones_replaced_and_counted():
    raw = "\ufeff\u201cWell\u201d \u2014 it\u2019s a well-known fact\u2026*\r\n".encode()
    assert transcript(raw) == ('"Well" it\'s a well known fact', 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("He drank cafe\u0301.", "'\\xe9' (U+00E9)"),
        ("Tea & scones", "'&' (U+0026)"),
        ("It cost \u00a35", "'\\xa3' (U+00A3)"),
        ("a bell \x07 rang", "'\\x07' (U+0007)"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "'\\u041f' (U+041F), '\\u0432' (U+0432)"),
    ],
)
def test_letters_and_signs_outside_the_symbols_are_refused_by_name(text, named):
    reason, message = refusal(transcript, text.encode())
    assert reason == "UNKNOWN_SYMBOL"
    assert named in message
    assert message.isascii()


@pytest.mark.parametrize("raw", [b"", b" \r\n", b"...!", b"\xef\xbb\xbf"])
def test_a_text_without_letter_or_digit_is_empty(raw):
    assert refusal(transcript, raw)[0] == "TEXT_EMPTY"


def test_a_text_in_another_encoding_is_refused_with_the_place():
    assert refusal(transcript, "a na\u00efve one".encode("latin-1")) == (
        "TEXT_ENCODING",
        "not UTF-8 at byte 4: invalid continuation byte",
    )
