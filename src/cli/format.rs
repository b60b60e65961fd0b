//! `--format`: the encoder's formats as words of the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::encoder::FormatName;

impl ValueEnum for FormatName {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Png => "Lossless",
            Self::Jpeg => "Small; quality 90",
            Self::Rgb => "As it is",
            Self::I420 => "Raw planes",
        };
        Some(PossibleValue::new(self.word()).help(help))
    }
}
