//! The only randomness of this layer: seeded and handed in, so that every run can be repeated.

use crate::wire::RequestId;

/// Random numbers from a seed. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// The same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// A seed for another generator.
    pub fn seed(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// The name of a new request.
    pub fn request_id(&mut self) -> RequestId {
        RequestId::from_random(self.0.u128(..))
    }
}
