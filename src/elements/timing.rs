//! Clock and base time of an element, for the pipelines it has beside its own.

use gst::prelude::*;

use crate::session::Timing;

/// From PAUSED→PLAYING on: what the pipeline has given the element, and zero is as good a base time as any.
pub fn of_playing(element: &gst::Element) -> Timing {
    match (element.clock(), element.base_time()) {
        (Some(clock), Some(base_time)) => Timing { clock, base_time },
        (clock, _) => from_now(clock),
    }
}

/// Before PLAYING there may be nothing to have, and a zero says just that: then running times count from now, by the
/// system's clock if there is no other, until [`of_playing`] brings the real ones.
pub fn of_starting(element: &gst::Element) -> Timing {
    match (element.clock(), element.base_time()) {
        (Some(clock), Some(base_time)) if base_time > gst::ClockTime::ZERO => Timing { clock, base_time },
        (clock, _) => from_now(clock),
    }
}

fn from_now(clock: Option<gst::Clock>) -> Timing {
    let clock = clock.unwrap_or_else(gst::SystemClock::obtain);
    let base_time = clock.time();
    Timing { clock, base_time }
}
