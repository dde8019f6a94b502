"""Arrays in the safetensors format."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import SafetensorError

from ml.serialization import from_safetensors, to_safetensors

DTYPES = st.sampled_from(["float64", "float32", "int64", "uint64", "bool"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=3)))


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), ARRAYS, max_size=4
    )
)
@settings(deadline=None, max_examples=50)
def test_arrays_are_restored_exactly(arrays: dict[str, np.ndarray]) -> None:
    """Values, shapes and dtypes are equal to the last bit; equal arrays give equal bytes."""
    data = to_safetensors(arrays)
    restored = from_safetensors(data)
    assert list(restored) == sorted(arrays)
    for name, array in arrays.items():
        assert (restored[name].dtype, restored[name].shape) == (array.dtype, array.shape)
        assert restored[name].tobytes() == array.tobytes()
    assert to_safetensors(dict(reversed(arrays.items()))) == to_safetensors(restored) == data


def test_memory_order_does_not_matter() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    data = to_safetensors({"rows": rows, "columns": rows.T, "reversed": rows[::-1]})
    restored = from_safetensors(data)
    np.testing.assert_array_equal(restored["columns"], rows.T)
    np.testing.assert_array_equal(restored["reversed"], rows[::-1])


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", pickle.dumps([1.0] * 100), to_safetensors({"a": np.ones(2)})[:-1]]
)
def test_invalid_data_raise(data: bytes) -> None:
    with pytest.raises(SafetensorError):
        from_safetensors(data)
