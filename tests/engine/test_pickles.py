import collections
import os
import pickle
import struct

import numpy as np
import pytest

from mmvl.engine.pickles import PickleError, read_pickle

PROTOCOLS = range(6)
PLAIN = {
    'refs': [{'sent': 'the left one', 'ids': (1, -2, 2**70), 'box': [0.5, 1e300]}],
    'set': {1, 2, 3},
    'frozen': frozenset({'a', (1, 'b')}),
    'bytes': b'\x00\xff\xc3',
    'array of bytes': bytearray(b'\x80x'),
    'nothing': [None, True, False, '', b'', (), [], {}, set()],
    7: 'è 🚲\n',
    (1, 'frame'): 0,
}


def put(tmp_path, data: bytes):
    file = tmp_path / 'refs.p'
    file.write_bytes(data)
    return file


def refused(tmp_path, data: bytes, said: str, **limits) -> str:
    file = put(tmp_path, data)
    with pytest.raises(PickleError, match=said) as info:
        read_pickle(file, **limits)
    text = str(info.value)
    assert str(file) in text
    assert 'What to do' in text
    assert len(text.splitlines()) <= 3
    assert len(text) < 500 + len(str(file))
    return text


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_plain_data_of_every_protocol(tmp_path, protocol):
    read = read_pickle(put(tmp_path, pickle.dumps(PLAIN, protocol)))
    assert read == PLAIN
    assert [type(value) for value in read.values()] == [type(v) for v in PLAIN.values()]


def test_shared_values_stay_shared(tmp_path):
    token = ['dog']
    read = read_pickle(put(tmp_path, pickle.dumps([token, token], 2)))
    assert read[0] is read[1]


def test_strings_of_python_2_are_latin_1(tmp_path):
    # {'caf\xe9': [u'x', 3L, set([1])]} as Python 2.7 wrote it with protocols 0 and 2
    texts = (
        b"(dp0\nS'caf\\xe9'\np1\n(lp2\nVx\np3\naL3L\nac__builtin__\nset\np4\n((lp5\nI1\natp6\nRp7\nas.",
        b'\x80\x02}q\x00U\x04caf\xe9q\x01]q\x02(X\x01\x00\x00\x00xq\x03\x8a\x01\x03'
        b'c__builtin__\nset\nq\x04]q\x05K\x01a\x85q\x06Rq\x07es.',
    )
    for text in texts:
        assert read_pickle(put(tmp_path, text)) == {'café': ['x', 3, {1}]}


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_code_is_named_and_not_run(tmp_path, protocol):
    marker = tmp_path / 'ran'
    bomb = [1, {'x': Call(os.mkdir, str(marker))}]
    data = pickle.dumps(bomb, protocol)
    text = refused(tmp_path, data, "asks for '(posix|os|nt).mkdir', which is code")
    assert 'byte ' in text
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), 'the marker works: only the refusal kept it away'


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        (b'(S"x"\nios\nsystem\n.', "'os.system'"),
        (b'Pelsewhere\n.', 'outside the file'),
        (b'\x82\x01.', 'registered class 1'),
        (b'\x84\xff\xff\xff\x7f.', 'registered class'),
        (b'c__builtin__\ngetattr\n.', '__builtin__.getattr'),
        (b'\x80\x04\x8c\x03a\nb\x8c\x03c\nd\x93.', r"'a\\nb.c\\nd'"),
        (b'c__builtin__\nset\n.', 'holds a Name'),
        (b'(lN\x85R.', 'calls something that is not a function'),
        (b'c__builtin__\nset\n]\x85R}b.', 'sets the state of something that has none'),
        (b'c__builtin__\nset\n}Nb.', 'sets the state'),
        (b'c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.', 'makes bytes in a way'),
        (b'c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.', 'makes bytes in a way'),
        (b'c__builtin__\nset\nX\x01\x00\x00\x00a\x85R.', 'other than a list'),
        (b'cnumpy.core.multiarray\n_reconstruct\n.', 'numpy arrays are not read here'),
        (b'\x80\x05\x97.', 'unknown instruction'),
        (b'<!DOCTYPE html>', 'unknown instruction'),
        (b'\x80\x02}q\x00h\x07.', 'Memo value not found'),
        (b'', 'truncated: 0 of at least 1 bytes'),
        (b'.', 'damaged'),
        (b'a.', 'damaged'),
        (b'K\x01K\x02a.', 'fills int as if it were list'),
        (b'}(K\x01K\x02K\x03u.', 'damaged'),
        (b'N' * 10, 'truncated: 10 of at least 11'),
        (b'I' + b'9' * 5000 + b'\n.', 'damaged'),
        (b'L0x' + b'f' * 5000 + b'L\n.', 'damaged|bits'),
        (b'\x8a\xff' + b'\x7f' * 255 + b'.', 'more than 1024 bits'),
        (b'X\x01\x00\x00\x00\xff.', 'damaged'),
    ],
)
def test_odd_files_are_refused(tmp_path, data, said):
    refused(tmp_path, data, said)


def test_other_containers_are_code(tmp_path):
    data = pickle.dumps(collections.OrderedDict(a=1))
    refused(tmp_path, data, 'collections.OrderedDict')


def test_every_cut_is_noticed(tmp_path):
    for protocol in PROTOCOLS:
        data = pickle.dumps(PLAIN, protocol)
        for end in range(0, len(data), 3):
            refused(tmp_path, data[:end], 'truncated|damaged')


@pytest.mark.parametrize(
    'data',
    [
        b'\x80\x02Nr\xfe\xff\xff\xff.',
        b'\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00N.',
        b'\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.',
    ],
)
def test_a_huge_memo_index_and_a_lying_frame_take_no_memory(tmp_path, data):
    assert read_pickle(put(tmp_path, data)) is None


@pytest.mark.parametrize(
    'opcode', [b'\x8e', b'\x8d', b'\x96'], ids=['BINBYTES8', 'BINUNICODE8', 'BYTEARRAY8']
)
@pytest.mark.parametrize('length', [10, 1 << 40, (1 << 63) - 1])
def test_a_lying_length_takes_no_memory(tmp_path, opcode, length):
    data = b'\x80\x05' + opcode + struct.pack('<Q', length) + b'abc.'
    refused(tmp_path, data, f'truncated: 15 of at least {11 + length:,} bytes')


@pytest.mark.parametrize('opcode', [b'B', b'X', b'T'])
def test_a_lying_short_length(tmp_path, opcode):
    refused(tmp_path, b'\x80\x03' + opcode + b'\xff\xff\xff\x7f.', 'truncated: 8 of at least')


@pytest.mark.parametrize('width', [2, 5])
def test_shared_references_count_each_time(tmp_path, width):
    value = ['x' * 50]
    for _ in range(40):
        value = [value] * width
    refused(tmp_path, pickle.dumps(value, 4), r'more than 209,715,200 bytes when it is written')


def test_the_written_size_is_that_of_json(tmp_path):
    row = {'tokens': ['a', 'red', 'bicycle'], 'box': [1, 22, 333], 'iscrowd': False}
    data = pickle.dumps([row] * 1000, 2)
    assert len(read_pickle(put(tmp_path, data), max_bytes=90_000)) == 1000
    refused(tmp_path, data, 'written out', max_bytes=40_000)


def nested(levels, kind):
    value = kind()
    for _ in range(levels - 1):
        value = kind([value]) if kind is not dict else {'x': value}
    return value


@pytest.mark.parametrize('kind', [list, tuple, dict])
def test_depth(tmp_path, kind):
    assert read_pickle(put(tmp_path, pickle.dumps(nested(64, kind)))) == nested(64, kind)
    refused(tmp_path, pickle.dumps(nested(65, kind)), 'more than 64 levels')


def test_depth_counts_along_shared_parts(tmp_path):
    deep = nested(40, list)
    inner = [[[deep]]]
    for _ in range(25):
        inner = [inner]
    assert read_pickle(put(tmp_path, pickle.dumps([deep, [[deep]]]))) == [deep, [[deep]]]
    refused(tmp_path, pickle.dumps([deep, inner]), 'more than 64 levels')


def test_a_list_within_itself(tmp_path):
    value = [1, {}]
    value[1]['self'] = value
    refused(tmp_path, pickle.dumps(value), 'contains itself')


@pytest.mark.parametrize('opcode', [b']', b'}', b'\x8f', b'(', b')\x85\x94', b'N\x94'])
def test_a_million_small_instructions_are_bounded(tmp_path, opcode):
    refused(tmp_path, b'\x80\x04(' + opcode * 1_000_000 + b'l.', 'far more memory than its size')


def test_many_small_dictionaries_are_no_bomb(tmp_path):
    pairs = [{'subject_id': i % 7, 'object_id': 2, 'category_id': 5} for i in range(200_000)]
    assert read_pickle(put(tmp_path, pickle.dumps(pairs, 4))) == pairs


def test_the_number_of_instructions_is_bounded(tmp_path):
    data = pickle.dumps([None] * 1000)
    assert len(read_pickle(put(tmp_path, data), max_items=1000)) == 1000
    refused(tmp_path, data, 'more instructions', max_items=300)


def test_the_size_of_the_file_is_checked_before_it_is_read(tmp_path):
    file = put(tmp_path, b'')
    os.truncate(file, (200 << 20) + 1)
    with pytest.raises(PickleError, match='has 209,715,201 bytes, more than the 209,715,200'):
        read_pickle(file)


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    same_hash = b''.join(
        b'\x8a\x09' + (i * (2**61 - 1)).to_bytes(9, 'little') + b'N' for i in range(1, 100)
    )
    refused(tmp_path, b'\x80\x02}(' + same_hash + b'u.', r'holds a key \(int\)')
    refused(tmp_path, b'\x80\x02(' + same_hash + b'd.', r'holds a key \(int\)')
    # a tuple of itself twice, forty times: hashing it visits 2**40 parts
    tuples = b')' + b'2\x86' * 40
    for data in (b'}' + tuples + b'Ns.', b'(' + tuples + b'\x91.', b'\x8f(' + tuples + b'\x90.'):
        refused(tmp_path, b'\x80\x04' + data, r'holds a key \(tuple\)')


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist.\nWhat to do: check the path'):
        read_pickle(tmp_path / 'none.p')
    with pytest.raises(PickleError, match='is not a regular file'):
        read_pickle(tmp_path)


def arrays():
    objects = np.empty((2, 1), object)
    objects[:, 0] = ['a', [1, 2]]
    return {
        'float': np.arange(6.0).reshape(2, 3),
        'fortran': np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        'big endian': np.arange(3, dtype='>u2'),
        'text': np.array(['a', 'bcd']),
        'bytes': np.array([b'a', b'bcd']),
        'flags': np.array([True, False]),
        'none': np.zeros((0, 4), np.float32),
        'zero-dimensional': np.array(5),
        'objects': objects,
    }


@pytest.mark.parametrize('names', ['numpy 2', 'numpy 1'])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_arrays(tmp_path, protocol, names):
    scalars = {'s': np.float32(2.5), 't': np.int64(-3), 'u': np.bool_(True), 'v': np.str_('ab')}
    data = pickle.dumps([arrays(), scalars], protocol)
    plain = pickle.loads(data)[0]
    if names == 'numpy 1':
        # both are one byte shorter, and so is a frame whose length is not looked at
        data = data.replace(b'numpy._core', b'numpy.core')
        for old in (b'\x8c\x16', b'\x8c\x13'):
            data = data.replace(old + b'numpy.core', bytes([old[0], old[1] - 1]) + b'numpy.core')
    read, read_scalars = read_pickle(put(tmp_path, data), arrays=True)
    for name, expected in arrays().items():
        # numpy turns the byte order to the machine's, except in protocol 5
        assert read[name].dtype == plain[name].dtype, name
        assert read[name].shape == expected.shape, name
        assert read[name].tolist() == expected.tolist(), name
    assert read_scalars == scalars
    assert [type(value) for value in read_scalars.values()] == [type(v) for v in scalars.values()]
    with pytest.raises(PickleError, match='numpy arrays are not read here'):
        read_pickle(tmp_path / 'refs.p')


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_large_arrays_and_bytes(tmp_path, protocol):
    value = [np.zeros((1000, 100)), bytearray(100_000), np.full(100_000, 7, np.int16)]
    read = read_pickle(put(tmp_path, pickle.dumps(value, protocol)), arrays=True)
    assert all(np.array_equal(a, b) for a, b in zip(read, value, strict=True))


HEAD = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I%b\ntS'b'\ntR"
    b"(I1\n(%btcnumpy\ndtype\n(S'%b'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n%btb."
)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ((b'9999999999', b'I1\n', b'f8', b"S''\n"), 'begins with a shape'),
        ((b'0', b'I9999999\n', b'f8', b"S'12345678'\n"), 'array of 9,999,999 numbers does not'),
        ((b'0', b'I-1\n', b'f8', b"S''\n"), 'impossible shape'),
        ((b'0', b'I99999999999999\n', b'f8', b"S''\n"), 'impossible shape'),
        ((b'0', b'I99999999\n', b'S0', b"S''\n"), "arrays of 'S0' are not read"),
        ((b'0', b'I1\n', b'f8,(99999,)f8', b"S''\n"), 'are not read'),
        ((b'0', b'I1\n', b'V8', b"S'12345678'\n"), "arrays of 'V8' are not read"),
        ((b'0', b'I99999999\n', b'O8', b'(l'), 'array of 99,999,999 objects has other'),
        ((b'0', b'I1\n', b'O8', b"S'12345678'\n"), 'objects has other contents'),
        ((b'0', b'I1\n', b'O8', b'(lc__builtin__\nset\na'), 'holds a Name'),
    ],
)
def test_arrays_that_claim_more_than_they_have(tmp_path, values, said):
    good = HEAD % (b'0', b'I1\n', b'f8', b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?'\n")
    assert read_pickle(put(tmp_path, good), arrays=True).tolist() == [1.0]
    refused(tmp_path, HEAD % values, said, arrays=True)


def test_one_string_does_not_become_many_copies(tmp_path):
    text = b'\x80\x02X' + struct.pack('<I', 1_000_000) + b'a' * 1_000_000 + b'q\x010'
    encode = b'c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R'
    assert len(read_pickle(put(tmp_path, text + encode + b'.'))) == 1_000_000
    refused(tmp_path, text + b'(' + encode * 50 + b'l.', 'copies its contents')


def test_an_array_of_objects_within_itself(tmp_path):
    array = np.empty(1, object)
    array[0] = [array]
    refused(tmp_path, pickle.dumps(array, 2), 'contains itself', arrays=True)
