use super::*;

fn read(parts: &[&[u8]]) -> Result<Objects, PickleError> {
    super::read(&parts.concat())
}

fn reason(parts: &[&[u8]]) -> String {
    read(parts).unwrap_err().to_string()
}

#[test]
fn a_pickle_that_names_functions_is_refused_by_their_name() {
    for (pickle, name) in [
        // os.system("touch owned"), in the two ways a pickle can name it.
        (
            &b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch owned\x85R."[..],
            "os.system",
        ),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch owned\x85R.",
            "posix.system",
        ),
        (
            b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
            "__builtin__.eval",
        ),
        (b"\x80\x02cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"\x80\x02ctorch\nload\n.", "torch.load"),
        (
            b"\x80\x02ctorch.storage\n_load_from_bytes\n.",
            "torch.storage._load_from_bytes",
        ),
        (b"\x80\x02cunet_328\nModel\n)\x81.", "unet_328.Model"),
        (b"\x80\x02ctorch\nEvilStorage\n.", "torch.EvilStorage"),
    ] {
        assert_eq!(
            read(&[pickle]).unwrap_err(),
            PickleError::Foreign(name.to_owned())
        );
    }
    let long = [b"c".as_slice(), &[b'a'; 5000], b"\nb\x07\n."].concat();
    assert!(reason(&[&long]).len() < 200);
}

#[test]
fn calling_what_is_harmless_makes_nothing_of_it() {
    // OrderedDict() and numpy's scalar(dtype('f8'), b'12345678').
    let scalar = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RC\x0812345678\x86R.";
    let objects = read(&[b"\x80\x02", scalar]).unwrap();
    assert_eq!(objects.get(objects.root), &Object::Inert);
    let dict = b"ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aK\x07u.";
    let objects = read(&[b"\x80\x02", dict]).unwrap();
    let Object::Dict(items) = objects.get(objects.root) else {
        panic!("no dictionary");
    };
    assert_eq!(objects.get(items[0].1), &Object::Int(7));
    // A storage's type is not called either, nor is what is no name.
    assert!(reason(&[b"\x80\x02K\x07)R."]).contains("it calls something that is no name"));
}

#[test]
fn integers_of_every_form_are_read() {
    for (pickle, value) in [
        (&b"K\xff."[..], 255),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x05\x00\x00\x00\x00\x01.", 1 << 32),
    ] {
        let objects = read(&[pickle]).unwrap();
        assert_eq!(objects.get(objects.root), &Object::Int(value));
    }
}

#[test]
fn what_is_cut_or_out_of_order_is_an_error() {
    for pickle in [
        &b""[..],
        b".",
        b"X\xff\xff\xff\xffa.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"h\x07.",
        b"q\x07.",
        b"t.",
        b"K\x01(0.",
        b"](K\x01u.",
        b"}(K\x01u.",
        b"K\x01K\x02s.",
        b"K\x01a.",
        b"Q.",
        b"K\x01Q.",
        b"ccollections",
        b"c\xff\n\xff\n.",
        b"\x93.",
        b"\x8c\x01aK\x01\x93.",
        b"b.",
        b"K\x01K\x02b.",
        b"P1\n.",
    ] {
        let error = read(&[pickle]).unwrap_err();
        assert!(
            matches!(error, PickleError::Damaged { .. }),
            "{pickle:?}: {error}"
        );
    }
}

#[test]
fn bombs_cost_no_more_than_their_bytes() {
    // A list of ten of the list before it, thirty times: 10^30 elements for whoever copies.
    let mut bomb = b"\x80\x02]q\x00".to_vec();
    for level in 0..30_u8 {
        bomb.extend(b"](");
        for _ in 0..10 {
            bomb.extend([b'h', level]);
        }
        bomb.extend([b'e', b'q', level + 1]);
    }
    bomb.push(b'.');
    read(&[&bomb]).unwrap();
    // Nested a million deep: nothing recurses, and the table is bounded.
    let deep = vec![b']'; 500_000];
    let appends = vec![b'a'; 499_999];
    read(&[&deep, &appends, b"."]).unwrap();
    assert!(reason(&[&vec![b')'; OBJECTS_MAX + 1], b"."]).contains("objects"));
    // A long tuple that is an argument again and again.
    let mut wide = b"\x80\x02ctorch\nSize\nq\x00(".to_vec();
    wide.extend(vec![b')'; 100_000]);
    wide.extend(b"tq\x01\x85q\x02");
    for _ in 0..100_000 {
        wide.extend(b"h\x00h\x02R");
    }
    wide.push(b'.');
    read(&[&wide]).unwrap();
}

/// A reference to a storage, and a tensor of it.
fn tensor(elements: &[u8], shape: &[u8], strides: &[u8], key: &[u8]) -> Vec<u8> {
    let storage: &[&[u8]] = &[
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n",
        key,
        b"X\x03\x00\x00\x00cpu",
        elements,
        b"tQK\x00",
        shape,
        strides,
        b"\x89ccollections\nOrderedDict\n)RtR.",
    ];
    storage.concat()
}

#[test]
fn tensors_must_lie_in_their_storages() {
    let key = b"X\x01\x00\x00\x000";
    let whole = tensor(b"K\x06", b"K\x02K\x03\x86", b"K\x03K\x01\x86", key);
    let objects = read(&[&whole]).unwrap();
    let Object::Tensor(tensor_info) = objects.get(objects.root) else {
        panic!("no tensor");
    };
    assert_eq!(tensor_info.shape(), [2, 3]);
    for (elements, shape, strides) in [
        (
            &b"K\x05"[..],
            &b"K\x02K\x03\x86"[..],
            &b"K\x03K\x01\x86"[..],
        ),
        (b"J\xff\xff\xff\xff", b"K\x02K\x03\x86", b"K\x03K\x01\x86"),
        (b"K\x06", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        (
            b"K\x06",
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85",
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85",
        ),
        (b"K\x06", b"K\x02K\x03\x86", b"K\x01\x85"),
        (
            b"K\x06",
            b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t",
            b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t",
        ),
        (b"N", b"K\x02\x85", b"K\x01\x85"),
        (b"K\x06", b"X\x01\x00\x00\x00a", b"K\x01\x85"),
    ] {
        let error = reason(&[&tensor(elements, shape, strides, key)]);
        assert!(error.contains("damaged"), "{error}");
    }
    let long = [b"X\x00\x10\x00\x00".as_slice(), &[b'a'; 4096]].concat();
    assert!(reason(&[&tensor(b"K\x06", b"K\x06\x85", b"K\x01\x85", &long)]).contains("storage"));
}
