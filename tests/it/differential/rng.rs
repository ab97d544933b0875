//! A small xorshift generator: the same seed gives the same sequence on every machine.

/// Random choices.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for a seed; neighbouring seeds share nothing.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) % n as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// One of several numbers.
    pub fn number<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
