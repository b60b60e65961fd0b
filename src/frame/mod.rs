//! Pixels: sizes, rectangles and whole RGB8 frames.

pub mod network_io;
pub mod pool;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Bytes of one RGB8 frame of this size.
    #[must_use]
    pub fn rgb_bytes(self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A half-open rectangle `[x1, x2) x [y1, y2)` in pixels, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    x1: u32,
    y1: u32,
    x2: u32,
    y2: u32,
}

impl Rect {
    /// The rectangle, or `None` if it would be empty or inverted.
    #[must_use]
    pub fn new(x1: u32, y1: u32, x2: u32, y2: u32) -> Option<Self> {
        (x1 < x2 && y1 < y2).then_some(Self { x1, y1, x2, y2 })
    }

    /// First column.
    #[must_use]
    pub fn x1(self) -> u32 {
        self.x1
    }

    /// First row.
    #[must_use]
    pub fn y1(self) -> u32 {
        self.y1
    }

    /// One past the last column.
    #[must_use]
    pub fn x2(self) -> u32 {
        self.x2
    }

    /// One past the last row.
    #[must_use]
    pub fn y2(self) -> u32 {
        self.y2
    }

    /// Width and height.
    #[must_use]
    pub fn size(self) -> Size {
        Size {
            width: self.x2 - self.x1,
            height: self.y2 - self.y1,
        }
    }

    /// Whether the rectangle lies wholly inside a frame of `size`.
    #[must_use]
    pub fn fits(self, size: Size) -> bool {
        self.x2 <= size.width && self.y2 <= size.height
    }
}

impl std::fmt::Display for Rect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.x1, self.y1, self.x2, self.y2)
    }
}

/// A whole picture: RGB8, rows packed, top to bottom.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    size: Size,
    data: Vec<u8>,
}

impl Frame {
    /// Wraps `data` (RGB8, `3 * width * height` bytes); `None` if the length does not fit.
    #[must_use]
    pub fn from_rgb(size: Size, data: Vec<u8>) -> Option<Self> {
        (data.len() == size.rgb_bytes()).then_some(Self { size, data })
    }

    /// Width and height.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// The pixels, RGB8, row by row.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The pixels, RGB8, row by row.
    #[must_use]
    pub fn into_rgb(self) -> Vec<u8> {
        self.data
    }

    /// The pixels, to be changed in place.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The pixels inside `rect`, as a picture of their own.
    ///
    /// # Panics
    /// If the rectangle does not lie inside the frame.
    #[must_use]
    pub fn cut(&self, rect: Rect) -> Self {
        assert!(rect.fits(self.size), "rect {rect} outside {}", self.size);
        let columns = 3 * rect.x1() as usize..3 * rect.x2() as usize;
        let rows = (rect.y1()..rect.y2()).flat_map(|y| &self.row(y)[columns.clone()]);
        Self {
            size: rect.size(),
            data: rows.copied().collect(),
        }
    }

    /// One row, RGB8.
    ///
    /// # Panics
    /// If `y` is not a row of the frame.
    #[must_use]
    pub fn row(&self, y: u32) -> &[u8] {
        let length = self.size.width as usize * 3;
        &self.data[y as usize * length..][..length]
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({})", self.size)
    }
}
