//! Spliced frames opened by decoders that we did not write: zlib, Pillow, `OpenCV` and pngcheck, where installed; raw
//! planes compared with the formulas of BT.709 as numpy calculates them.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "common/skip.rs"]
mod skip;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lipsync::encoder::{Background, Effort, Encoder, Format, PreparedPng};
use lipsync::frame::{Frame, Rect, Size};

const SIZE: Size = Size {
    width: 211,
    height: 97,
};

/// Reads `NAME.png` and `NAME.rgb` pairs with whatever is installed; prints what it used, fails on any difference.
const CHECK: &str = r"
import sys, glob
from pathlib import Path
readers = {}
try:
    from PIL import Image, ImageFile
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    readers['Pillow'] = lambda f: Image.open(f).convert('RGB').tobytes()
except ImportError: pass
try:
    import cv2
    readers['OpenCV'] = lambda f: cv2.imread(f, cv2.IMREAD_COLOR)[:, :, ::-1].tobytes()
except ImportError: pass
import struct, zlib
def strict(f):
    data, at, idat = Path(f).read_bytes(), 8, b''
    while at < len(data):
        n, = struct.unpack('>I', data[at:at + 4]); kind = data[at + 4:at + 8]; body = data[at + 8:at + 8 + n]
        assert zlib.crc32(kind + body) == struct.unpack('>I', data[at + 8 + n:at + 12 + n])[0], 'CRC'
        idat += body if kind == b'IDAT' else b''
        at += 12 + n
    inflate = zlib.decompressobj()
    inflate.decompress(idat)
    assert inflate.eof and not inflate.unused_data, 'zlib stream'
files = sorted(glob.glob(sys.argv[1] + '/*.png'))
assert files
for f in files:
    strict(f)
    for name, read in readers.items():
        assert read(f) == Path(f).with_suffix('.rgb').read_bytes(), (name, f)
try:
    import numpy as np
    def planes(rgb):
        h, w, _ = rgb.shape
        def ycc(r, g, b):
            y = 0.2126 * r + 0.7152 * g + 0.0722 * b
            return 16 + 219 / 255 * y, 128 + 224 / 255 * (b - y) / 1.8556, 128 + 224 / 255 * (r - y) / 1.5748
        even = np.pad(rgb, ((0, h % 2), (0, w % 2), (0, 0)), 'edge')
        mean = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
        _, u, v = ycc(*np.moveaxis(mean, 2, 0))
        return np.concatenate([p.ravel() for p in (ycc(*np.moveaxis(rgb, 2, 0))[0], u, v)])
    for f in files:
        rgb = np.fromfile(Path(f).with_suffix('.rgb'), np.uint8).reshape(97, 211, 3).astype(np.float64)
        ours = np.fromfile(Path(f).with_suffix('.yuv'), np.uint8)
        expected = planes(rgb)
        assert ours.shape == expected.shape, (f, ours.shape, expected.shape)
        assert np.abs(ours - expected).max() < 1, (f, np.abs(ours - expected).max())
    readers['numpy'] = None
except ImportError: pass
print(len(files), 'files:', 'zlib', *readers)
";

fn picture(size: Size, seed: u32, noise: u32) -> Frame {
    let pixel = |i: u32| {
        let (x, y) = (i / 3 % size.width, i / 3 / size.width);
        let mut h = (i ^ seed << 20).wrapping_mul(2_654_435_769);
        h ^= h >> 15;
        (x / 2 + y + 40 * (i % 3) + h.wrapping_mul(2_246_822_519) % noise) as u8
    };
    let data = (0..size.rgb_bytes() as u32).map(pixel).collect();
    Frame::from_rgb(size, data).unwrap()
}

fn write_frames(folder: &Path) {
    let rects = [
        (60, 30, 140, 80),
        (0, 0, 211, 97),
        (0, 0, 1, 1),
        (210, 96, 211, 97),
        (0, 40, 50, 97),
        (150, 0, 211, 20),
    ];
    let encoder = Encoder::new(2);
    for (number, (x1, y1, x2, y2)) in rects.into_iter().enumerate() {
        for noise in [1, 6, 256] {
            let rect = Rect::new(x1, y1, x2, y2).unwrap();
            let frame = Arc::new(picture(SIZE, 1, noise));
            let patch = picture(rect.size(), 2, noise);
            for effort in [Effort::Quick, Effort::Thorough] {
                let prepared = PreparedPng::prepare(&frame, rect, None, effort);
                let background =
                    Background::new(Arc::clone(&frame), rect).with_prepared(Arc::new(prepared));
                for (format, ending) in [
                    (Format::Png, "png"),
                    (Format::Rgb, "rgb"),
                    (Format::I420, "yuv"),
                ] {
                    let encoded = encoder.encode(&background, patch.data(), format).unwrap();
                    let name = format!("{number}_{noise}_{effort:?}.{ending}");
                    std::fs::write(folder.join(name), encoded.into_bytes()).unwrap();
                }
            }
        }
    }
}

/// Runs a command; `None` if it is not installed.
fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}

#[test]
fn independent_decoders_read_spliced_frames() {
    let folder = tempfile::tempdir().unwrap();
    write_frames(folder.path());
    let python = run(Command::new("python3")
        .args(["-c", CHECK])
        .arg(folder.path()));
    match python {
        Some(said) => println!("{said}"),
        None => skip::skipped("python", "no python3"),
    }
    let mut pngcheck = Command::new("pngcheck");
    pngcheck.arg("-q");
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "png") {
            pngcheck.arg(path);
        }
    }
    match run(&mut pngcheck) {
        Some(_) => println!("pngcheck: no complaint"),
        None => skip::skipped("pngcheck", "it is not installed"),
    }
}
