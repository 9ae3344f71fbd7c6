import gzip
import struct

import numpy as np
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """The format written by hand, one number at a time."""
    content = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    for length in array.shape:
        content += struct.pack(">i", length)
    letter = {"u1": "B", "i1": "b", "i2": "h", "i4": "i", "f4": "f", "f8": "d"}
    for value in array.ravel().tolist():
        content += struct.pack(">" + letter[array.dtype.str[1:]], value)
    return content


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
def test_reads_back_what_was_written(tmp_path, kind, compress, shape):
    array = (np.arange(np.prod(shape)).reshape(shape) * 3 - (kind[0] != "u") * 10).astype(kind)
    (tmp_path / "file").write_bytes(compress(idx_bytes(array)))
    read = read_idx(tmp_path / "file")
    assert read.numpy().dtype == np.dtype(kind)
    np.testing.assert_array_equal(read.numpy(), array)


WHOLE = idx_bytes(np.arange(6, dtype="u1").reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number of an IDX file"),
        (b"\x01" + WHOLE[1:], "magic number of an IDX file .*got 01 00 08 02"),
        (WHOLE[:2] + b"\x0a" + WHOLE[3:], "magic number of an IDX file"),
        (WHOLE[:7], "a header of 12 bytes, got 7 bytes"),
        (WHOLE[:-1], r"18 bytes for shape \(2, 3\), got 17 bytes; fetch the file again"),
        (WHOLE + b"\0", r"18 bytes for shape \(2, 3\), got 19 bytes"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "whole gzip data"),
        (gzip.compress(WHOLE, mtime=0)[:10] + b"\xff" * 9, "whole gzip data"),
        (gzip.compress(WHOLE, mtime=0)[:-8] + b"\0" * 8, "whole gzip data, got CRC check failed"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NeuralCollapseError, match=message):
        read_idx(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        NeuralCollapseError, match=r"path: expected an IDX file, got no file .*nowhere"
    ):
        read_idx(tmp_path / "nowhere")
