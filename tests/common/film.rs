//! What several tests need: sounds to render, and ffmpeg to look at what came out.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a test's helper: no test needs all of it"
)]

#[path = "skip.rs"]
pub(crate) mod skip;

use std::process::Command;

/// Whether ffmpeg and ffprobe are installed; says so if not.
pub fn has_ffmpeg() -> bool {
    let found = ["ffmpeg", "ffprobe"]
        .iter()
        .all(|program| Command::new(program).arg("-version").output().is_ok());
    if !found {
        skip::skipped("ffmpeg", "ffmpeg or ffprobe is not installed");
    }
    found
}

/// Runs ffmpeg, which must succeed and warn of nothing; gives its output.
pub fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "warning"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "ffmpeg {arguments:?}: {said}"
    );
    output.stdout
}

/// What ffprobe says of a stream, a line each.
pub fn ffprobe(film: &str, stream: &str, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "warning",
            "-select_streams",
            stream,
            "-show_entries",
            entries,
        ])
        .args(["-of", "csv=print_section=0", film])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "ffprobe {film}: {said}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// A 16-bit WAV of `mono` in every channel.
pub fn wav(rate_hz: u32, channels: u16, mono: &[f32]) -> Vec<u8> {
    let bytes = mono.len() as u32 * u32::from(channels) * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend(1u16.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate_hz.to_le_bytes());
    file.extend((rate_hz * u32::from(channels) * 2).to_le_bytes());
    file.extend((channels * 2).to_le_bytes());
    file.extend(16u16.to_le_bytes());
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    for sample in mono {
        let sample = (sample * 32_767.0) as i16;
        (0..channels).for_each(|_| file.extend(sample.to_le_bytes()));
    }
    file
}

/// Faint noise, and a click of 5 ms around `click` seconds.
pub fn click_track(rate_hz: u32, seconds: f64, click: f64) -> Vec<f32> {
    let samples = (seconds * f64::from(rate_hz)) as usize;
    let mut noise = 1u32;
    (0..samples)
        .map(|at| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let faint = (f64::from(noise >> 8) / f64::from(1 << 24) - 0.5) * 0.002;
            let time = at as f64 / f64::from(rate_hz) - click;
            let bell = (-(time / 0.002).powi(2)).exp();
            (faint + 0.8 * bell * (2.0 * std::f64::consts::PI * 1000.0 * time).cos()) as f32
        })
        .collect()
}

/// Where in `samples` the most energy is, in seconds: the middle of the loudest 5 ms.
pub fn loudest_second(samples: &[f32], rate_hz: u32) -> f64 {
    let window = rate_hz as usize / 200;
    let energy = |at: usize| {
        samples[at..at + window]
            .iter()
            .map(|s| f64::from(s * s))
            .sum::<f64>()
    };
    let loudest = (0..samples.len() - window)
        .step_by(window / 10)
        .max_by(|&a, &b| energy(a).total_cmp(&energy(b)))
        .unwrap();
    (loudest + window / 2) as f64 / f64::from(rate_hz)
}

/// How near two pictures are, in decibels.
pub fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares: f64 = one
        .iter()
        .zip(other)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * one.len() as f64 / squares.max(1e-9)).log10()
}
