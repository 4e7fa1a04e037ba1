//! Where printed JSON goes.

/// Takes printed JSON, piece by piece.
pub trait Out {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// Hands what is printed on in blocks: for sums over texts that nobody needs whole.
#[derive(Debug)]
pub struct Blocks<F: FnMut(&[u8])> {
    block: Vec<u8>,
    take: F,
}

/// Little enough to stay close to the core, large enough for a system call to be worth it.
const BLOCK: usize = 64 << 10;

impl<F: FnMut(&[u8])> Blocks<F> {
    /// Hands every block to `take`.
    pub fn new(take: F) -> Self {
        Self {
            block: Vec::with_capacity(BLOCK),
            take,
        }
    }

    /// Hands on what is left.
    pub fn finish(mut self) {
        (self.take)(&self.block);
    }
}

impl<F: FnMut(&[u8])> Out for Blocks<F> {
    fn put(&mut self, bytes: &[u8]) {
        if self.block.len() + bytes.len() > BLOCK {
            (self.take)(&self.block);
            self.block.clear();
            if bytes.len() > BLOCK {
                (self.take)(bytes);
                return;
            }
        }
        self.block.extend_from_slice(bytes);
    }
}
