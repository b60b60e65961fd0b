//! What a frame can be encoded as: the words of the command line, the page and the wire are these.

use serde::{Deserialize, Serialize};

use crate::defaults::JPEG_QUALITY;

/// A format, with what its encoder needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// PNG, 8-bit RGB, lossless.
    Png,
    /// Baseline JPEG.
    Jpeg {
        /// 1 (smallest) to 100 (best).
        quality: u8,
    },
    /// Packed RGB8 pixels, row by row, without a header.
    Rgb,
    /// The planes Y, U and V, packed, without a header: BT.709, limited range; the sides of U and V round up.
    I420,
}

/// The name of a format, as users say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatName {
    /// Lossless.
    Png,
    /// Small.
    Jpeg,
    /// Pixels as they are.
    Rgb,
    /// Raw planes.
    I420,
}

impl FormatName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Png, Self::Jpeg, Self::Rgb, Self::I420];

    /// `png`, as the command line and the page write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Rgb => "rgb",
            Self::I420 => "i420",
        }
    }

    /// The format of this name; `quality` is for JPEG alone.
    #[must_use]
    pub fn with_quality(self, quality: Option<u8>) -> Format {
        match self {
            Self::Png => Format::Png,
            Self::Jpeg => Format::Jpeg {
                quality: quality.unwrap_or(JPEG_QUALITY),
            },
            Self::Rgb => Format::Rgb,
            Self::I420 => Format::I420,
        }
    }
}

impl Format {
    /// Its name.
    #[must_use]
    pub fn name(self) -> FormatName {
        match self {
            Self::Png => FormatName::Png,
            Self::Jpeg { .. } => FormatName::Jpeg,
            Self::Rgb => FormatName::Rgb,
            Self::I420 => FormatName::I420,
        }
    }
}
