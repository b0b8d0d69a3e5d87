"""The C library of flite, bound once per process: functions with types, and voices by name.

Pointers do not fit ctypes' default integers, so every function that is called is declared.
"""

import ctypes
import functools
from typing import Any

LIBRARIES = ("libflite.so.1", "libflite_usenglish.so.1", "libflite_cmulex.so.1")


def voice_library(voice: str) -> str:
    """The file name of a voice's shared library."""
    return f"libflite_cmu_us_{voice}.so.1"


@functools.cache
def functions() -> dict[str, Any]:
    """The C functions used, with declared types: pointers do not fit the default int."""
    flite, libc = ctypes.CDLL(LIBRARIES[0]), ctypes.CDLL(None)
    pointer, string, real = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
    signatures: dict[str, tuple[type | None, tuple[type, ...]]] = {
        "flite_synth_text": (pointer, (string, pointer)),
        "utt_wave": (pointer, (pointer,)),
        "delete_utterance": (None, (pointer,)),
        "utt_relation": (pointer, (pointer, string)),
        "relation_head": (pointer, (pointer,)),
        "item_next": (pointer, (pointer,)),
        "item_feat_float": (real, (pointer, string)),
        "ffeature_string": (string, (pointer, string)),
        "feat_set_float": (None, (pointer, string, real)),
        "flite_synth_phones": (pointer, (string, pointer)),
        "item_set_float": (None, (pointer, string, real)),
        "uttfunc_val": (pointer, (pointer,)),
        "feat_set": (None, (pointer, string, pointer)),
        "feat_remove": (ctypes.c_int, (pointer, string)),
    }
    bound = {}
    for name, (result, arguments) in signatures.items():
        bound[name] = getattr(flite, name)
        bound[name].restype, bound[name].argtypes = result, arguments
    libc.srand.restype, libc.srand.argtypes = None, (ctypes.c_uint,)
    flite.flite_init()
    return {**bound, "srand": libc.srand}


@functools.cache
def register_voice(voice: str) -> int:
    """The address of a voice, loaded once per process; flite keeps it for ever."""
    register = getattr(ctypes.CDLL(voice_library(voice)), f"register_cmu_us_{voice}")
    register.restype, register.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
    return int(register(None))
