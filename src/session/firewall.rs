//! The element behind every src pad of webrtcbin: whatever happens below it, webrtcbin sees success.
//!
//! One bad flow return (not-linked, flushing, EOS, error) below one src pad of webrtcbin climbs to the ICE source and
//! ends every bundled stream, in all versions. For the same reason an EOS stops here: it would make this pad refuse
//! the packets that come after it.

use std::time::Duration;

use gst::glib;

glib::wrapper! {
    /// `sink` takes anything and always says OK; `src` may be unlinked, flushing or broken.
    pub struct Firewall(ObjectSubclass<imp::Firewall>) @extends gst::Element, gst::Object;
}

/// What the first packet says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPacket {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
}

impl Firewall {
    /// `first` is called once, on a streaming thread, with the first packet; `eos` when the stream says it is over.
    pub fn new(
        first: impl FnOnce(FirstPacket) + Send + 'static,
        eos: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let this: Self = glib::Object::new();
        imp::Firewall::install(&this, Box::new(first), Box::new(eos));
        this
    }

    /// Whether a packet has come within this time.
    pub fn is_alive(&self, within: Duration) -> bool {
        imp::Firewall::is_alive(self, within)
    }

    /// The pad for webrtcbin.
    pub fn sink(&self) -> gst::Pad {
        imp::Firewall::pads(self).0
    }

    /// The pad for the depayloader.
    pub fn src(&self) -> gst::Pad {
        imp::Firewall::pads(self).1
    }
}

mod imp {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
    use std::time::{Duration, Instant};

    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;

    use super::FirstPacket;

    type OnFirst = Box<dyn FnOnce(FirstPacket) + Send>;
    type OnEos = Box<dyn Fn() + Send + Sync>;

    pub struct Firewall {
        sink: gst::Pad,
        src: gst::Pad,
        first: Mutex<Option<OnFirst>>,
        eos: OnceLock<OnEos>,
        made: Instant,
        /// Milliseconds between `made` and the last packet, and one; 0 before the first.
        last: AtomicU64,
    }

    impl Firewall {
        fn age(&self) -> u64 {
            u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
        }

        pub(super) fn is_alive(obj: &super::Firewall, within: Duration) -> bool {
            let this = obj.imp();
            let last = this.last.load(Ordering::Relaxed);
            let silent = u128::from(this.age().saturating_sub(last.saturating_sub(1)));
            last > 0 && silent <= within.as_millis()
        }

        pub(super) fn install(obj: &super::Firewall, first: OnFirst, eos: OnEos) {
            let this = obj.imp();
            *this.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
            let _ = this.eos.set(eos);
        }

        pub(super) fn pads(obj: &super::Firewall) -> (gst::Pad, gst::Pad) {
            let this = obj.imp();
            (this.sink.clone(), this.src.clone())
        }

        fn see(&self, buffer: &gst::BufferRef) {
            self.last.store(self.age() + 1, Ordering::Relaxed);
            // The lock is not held while calling; it is contended by nobody after the first packet.
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(first) = first else { return };
            let mut header = [0; 12];
            // It panics on a shorter buffer.
            if buffer.size() >= header.len() && buffer.copy_to_slice(0, &mut header).is_ok() {
                let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
                first(FirstPacket {
                    ssrc,
                    payload_type: header[1] & 0x7f,
                });
            } else {
                *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
            }
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.see(&buffer);
            let _ = self.src.push(buffer);
            Ok(gst::FlowSuccess::Ok)
        }

        fn chain_list(&self, list: gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
            if let Some(buffer) = list.get(0) {
                self.see(buffer);
            }
            let _ = self.src.push_list(list);
            Ok(gst::FlowSuccess::Ok)
        }

        /// Requests for a key frame go out as PLI. With "all headers" webrtcbin 1.22 makes them FIR, whether the
        /// description offers that or not, and a peer that never heard of FIR, such as aiortc, ignores them.
        fn src_event(&self, event: gst::Event) -> bool {
            let event = match gst_video::UpstreamForceKeyUnitEvent::parse(&event) {
                Ok(request) => gst_video::UpstreamForceKeyUnitEvent::builder()
                    .running_time(request.running_time)
                    .count(request.count)
                    .all_headers(false)
                    .build(),
                Err(_) => event,
            };
            self.sink.push_event(event)
        }

        /// Sticky ones stay on the pad until something is linked.
        fn sink_event(&self, event: gst::Event) -> bool {
            let _ = self.src.push_event(event);
            true
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Firewall {
        const NAME: &'static str = "MeteredFirewall";
        type Type = super::Firewall;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let ok = || Ok(gst::FlowSuccess::Ok);
            let builder =
                |name| gst::Pad::builder_from_template(&class.pad_template(name).expect("is static"));
            let sink = builder("sink")
                .chain_function(move |_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, ok, |this| this.chain(buffer))
                })
                .chain_list_function(move |_, parent, list| {
                    Self::catch_panic_pad_function(parent, ok, |this| this.chain_list(list))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || true, |this| this.sink_event(event))
                })
                .build();
            let src = builder("src")
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |this| this.src_event(event))
                })
                .build();
            Self {
                sink,
                src,
                first: Mutex::new(None),
                eos: OnceLock::new(),
                made: Instant::now(),
                last: AtomicU64::new(0),
            }
        }
    }

    impl ObjectImpl for Firewall {
        fn constructed(&self) {
            self.parent_constructed();
            let obj = self.obj();
            // A probe, not the event function: an EOS that gets that far already marks the pad.
            let weak = obj.downgrade();
            self.sink
                .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                    if info
                        .event()
                        .is_none_or(|event| event.type_() != gst::EventType::Eos)
                    {
                        return gst::PadProbeReturn::Ok;
                    }
                    if let Some(obj) = weak.upgrade()
                        && let Some(eos) = obj.imp().eos.get()
                    {
                        eos();
                    }
                    // With Drop the bindings (0.25) release an event that GStreamer 1.22 has released already.
                    gst::PadProbeReturn::Handled
                });
            // Neither can fail: the pads are new and have no parent.
            let _ = obj.add_pad(&self.sink);
            let _ = obj.add_pad(&self.src);
        }
    }

    impl GstObjectImpl for Firewall {}

    impl ElementImpl for Firewall {
        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let template = |name, direction| {
                    let caps = gst::Caps::new_any();
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                };
                [
                    template("sink", gst::PadDirection::Sink),
                    template("src", gst::PadDirection::Src),
                ]
                .into_iter()
                .flatten()
                .collect()
            });
            TEMPLATES.as_ref()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use gst::prelude::*;

    use super::*;

    fn packet(ssrc: u32) -> gst::Buffer {
        let mut header = vec![0x80, 0x80 | 97, 0, 1, 0, 0, 0, 0];
        header.extend(ssrc.to_be_bytes());
        gst::Buffer::from_slice(header)
    }

    /// A src pad above a running firewall.
    fn above(firewall: &Firewall) -> gst::Pad {
        firewall.set_state(gst::State::Playing).unwrap();
        let pad = gst::Pad::builder(gst::PadDirection::Src).build();
        pad.link(&firewall.sink()).unwrap();
        pad.set_active(true).unwrap();
        assert!(pad.push_event(gst::event::StreamStart::new("x")));
        let caps = gst::Caps::builder("application/x-rtp")
            .field("encoding-name", "VP8")
            .build();
        assert!(pad.push_event(gst::event::Caps::new(&caps)));
        assert!(pad.push_event(gst::event::Segment::new(
            &gst::FormattedSegment::<gst::ClockTime>::new()
        )));
        pad
    }

    #[test]
    fn nothing_below_matters() {
        gst::init().unwrap();
        let (seen, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (first, eos) = (seen.clone(), ends.clone());
        let firewall = Firewall::new(
            move |packet| first.lock().unwrap().push(packet),
            move || {
                eos.fetch_add(1, Ordering::Relaxed);
            },
        );
        let pad = above(&firewall);
        let ok = Ok(gst::FlowSuccess::Ok);
        // Too short to be a packet, then unlinked.
        assert_eq!(pad.push(gst::Buffer::from_slice([1, 2, 3])), ok);
        assert_eq!(pad.push(packet(7)), ok);
        assert_eq!(pad.push_list([packet(8)].into_iter().collect()), ok);
        assert_eq!(
            *seen.lock().unwrap(),
            [FirstPacket {
                ssrc: 7,
                payload_type: 97
            }]
        );

        for error in [
            gst::FlowError::Error,
            gst::FlowError::Eos,
            gst::FlowError::NotNegotiated,
        ] {
            let events = Arc::new(AtomicUsize::new(0));
            let counter = events.clone();
            let sink = gst::Pad::builder(gst::PadDirection::Sink)
                .chain_function(move |_, _, _| Err(error))
                .event_function(move |_, _, _| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    true
                })
                .build();
            // Still flushing, then refusing.
            firewall.src().link(&sink).unwrap();
            assert_eq!(pad.push(packet(9)), ok);
            sink.set_active(true).unwrap();
            assert_eq!(pad.push(packet(9)), ok);
            assert!(
                events.load(Ordering::Relaxed) >= 3,
                "stream-start, caps and segment reach a late chain"
            );
            firewall.src().unlink(&sink).unwrap();
            assert_eq!(pad.push(packet(9)), ok);
        }
        firewall.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn eos_ends_nothing() {
        gst::init().unwrap();
        let ends = Arc::new(AtomicUsize::new(0));
        let eos = ends.clone();
        let firewall = Firewall::new(
            |_| (),
            move || {
                eos.fetch_add(1, Ordering::Relaxed);
            },
        );
        let pad = above(&firewall);
        firewall.sink().send_event(gst::event::Eos::new());
        assert_eq!(ends.load(Ordering::Relaxed), 1);
        assert_eq!(pad.push(packet(9)), Ok(gst::FlowSuccess::Ok));
        firewall.set_state(gst::State::Null).unwrap();
    }
}
