//! The demo's drawing code as a program, for `tools/demo` to train and evaluate with.
//!
//! ```text
//! draw_demo_faces serve                                 lines "person frame opening width" in; for each, on stdout,
//!                                                       the side of the crop rect (u32, little endian) and its RGB8
//! draw_demo_faces png FILE person frame opening width   one whole frame as a PNG
//! ```
//!
//! `person` is 0, 1 or 2: sanders, bob, jane.

use std::io::{BufRead as _, BufWriter, Write as _};

use anyhow::Context as _;
use lipsync::demo::{Artist, Mouth, Who};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let artists = Who::ALL.map(Artist::new);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(&artists),
        ["png", file, ..] => {
            let (artist, frame, mouth) = order(&artists, &arguments[2..].join(" "))?;
            let drawn = artist.draw(frame, mouth);
            let size = drawn.size();
            let colour = image::ExtendedColorType::Rgb8;
            image::save_buffer(file, drawn.data(), size.width, size.height, colour)?;
            Ok(())
        }
        _ => anyhow::bail!("usage: draw_demo_faces serve | png FILE person frame opening width"),
    }
}

fn serve(artists: &[Artist; 3]) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let (artist, frame, mouth) = order(artists, &line?)?;
        let drawn = artist.draw(frame, mouth);
        let rect = artist.rect(frame);
        out.write_all(&rect.size().width.to_le_bytes())?;
        for y in rect.y1()..rect.y2() {
            out.write_all(&drawn.row(y)[3 * rect.x1() as usize..3 * rect.x2() as usize])?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Reads "person frame opening width".
fn order<'a>(artists: &'a [Artist; 3], text: &str) -> anyhow::Result<(&'a Artist, usize, Mouth)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [person, frame, opening, width] = words[..] else {
        anyhow::bail!("expected person, frame, opening and width, got {text:?}");
    };
    let artist = artists
        .get(person.parse::<usize>()?)
        .context("person is 0, 1 or 2")?;
    Ok((
        artist,
        frame.parse()?,
        Mouth::new(opening.parse()?, width.parse()?),
    ))
}
