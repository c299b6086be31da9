//! Time as a parameter: nothing in this crate can read a clock.

/// Nanoseconds since an origin that the driver chose; never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The end of time: what never happens is due then.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `ms` milliseconds later, or the end of time.
    ///
    /// ```
    /// use taskyard_core::Instant;
    /// assert_eq!(Instant(5).after_ms(2), Instant(2_000_005));
    /// ```
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A fine instant in four bytes: microseconds, and repeats after 71 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) u32);

impl Micros {
    /// The microsecond of an instant.
    pub(crate) const fn of(at: Instant) -> Self {
        Self((at.0 / 1000) as u32)
    }

    /// Microseconds from `earlier` to `self`, if that is less than all there are.
    pub(crate) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// A coarse instant in four bytes: 2^20 ns each, about a millisecond, and repeats after 52 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    const BITS: u32 = 20;

    /// The tick of an instant.
    pub(crate) const fn of(at: Instant) -> Self {
        Self((at.0 >> Self::BITS) as u32)
    }

    /// Ticks from `self` to the present; what is longer than half of the circle is in the future.
    pub(crate) const fn age(self, now: Instant) -> u32 {
        let age = Self::of(now).0.wrapping_sub(self.0);
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// Whether it is not after `other`.
    pub(crate) const fn is_by(self, other: Self) -> bool {
        other.0.wrapping_sub(self.0) <= u32::MAX / 2
    }

    /// So many ticks in milliseconds.
    pub(crate) const fn in_ms(ticks: u32) -> u64 {
        ((ticks as u64) << Self::BITS) / 1_000_000
    }

    /// The least number of ticks that are not shorter than this.
    pub(crate) const fn from_ms(ms: u64) -> u64 {
        ms.saturating_mul(1_000_000).div_ceil(1 << Self::BITS)
    }
}
