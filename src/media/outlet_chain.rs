//! The elements between a track's producer and the application, for one way of handing it out.
//!
//! ```text
//! producer ─► appsrc ─► [parser] ─► [decoder] ─► ghost pad
//! ```

use gst::prelude::*;
use gst_utils::ConsumptionLink;
use gst_utils::streamproducer::ConsumerSettings;

use super::graph::make_parser;
use super::outlet::Output;
use super::tasks::spawn;
use super::{CAT, MediaError, codecs, properties};
use crate::core::io::{Codec, MediaKind};

/// What may wait for a slow application before old media is dropped.
const MAX_TIME: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Identity of the stream on the pad, kept over all chains.
#[derive(Debug, Clone)]
pub(crate) struct StreamIdentity {
    pub id: String,
    pub group: gst::GroupId,
    pub stream: gst::Stream,
}

impl StreamIdentity {
    pub fn new(id: &str, kind: MediaKind, group: gst::GroupId) -> Self {
        let kind = match kind {
            MediaKind::Audio => gst::StreamType::AUDIO,
            MediaKind::Video => gst::StreamType::VIDEO,
        };
        let stream = gst::Stream::new(Some(id), None, kind, gst::StreamFlags::empty());
        Self {
            id: id.into(),
            group,
            stream,
        }
    }

    fn stream_start(&self) -> gst::Event {
        gst::event::StreamStart::builder(&self.id)
            .group_id(self.group)
            .stream(self.stream.clone())
            .build()
    }

    /// Of this stream alone: other pads come and go without it, and whoever decodes several adds them up.
    pub fn collection(&self) -> gst::Event {
        let collection = gst::StreamCollection::builder(Some(&self.id))
            .stream(self.stream.clone())
            .build();
        gst::event::StreamCollection::new(&collection)
    }
}

/// One set of elements in the outlet's bin.
#[derive(Debug)]
pub(crate) struct Chain {
    pub codec: Codec,
    pub output: Output,
    pub link: ConsumptionLink,
    elements: Vec<gst::Element>,
    src: gst::Pad,
}

impl Chain {
    /// Makes the elements and adds them to the bin; they do not run yet and are connected to nothing.
    pub fn build(
        bin: &gst::Bin,
        serial: u64,
        codec: Codec,
        output: Output,
        identity: StreamIdentity,
    ) -> Result<Self, MediaError> {
        let info = codecs::info(codec);
        let appsrc = gst_app::AppSrc::builder().name(format!("track-{serial}")).build();
        let source = appsrc
            .static_pad("src")
            .ok_or_else(|| MediaError::Build("appsrc without pad".into()))?;
        source.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info
                .event()
                .is_some_and(|event| event.type_() == gst::EventType::StreamStart)
            {
                info.data = Some(gst::PadProbeData::Event(identity.stream_start()));
            }
            gst::PadProbeReturn::Ok
        });
        let mut elements: Vec<gst::Element> = vec![appsrc.clone().upcast()];
        elements.extend(make_parser(info)?);
        if output == Output::Raw {
            elements.push(make_decoder(codec)?);
        }
        for (index, element) in elements.iter().enumerate().skip(1) {
            let name = if index + 1 == elements.len() && output == Output::Raw {
                "decoder"
            } else {
                "parser"
            };
            rename(element, &format!("{name}-{serial}"));
        }
        let last = elements.last().and_then(|element| element.static_pad("src"));
        let src = last.ok_or_else(|| MediaError::Build("decoder without pad".into()))?;
        let link = ConsumptionLink::disconnected_with(
            appsrc,
            ConsumerSettings {
                max_time: MAX_TIME,
                ..Default::default()
            },
        );
        let chain = Self {
            codec,
            output,
            link,
            elements,
            src,
        };
        if let Err(error) = chain.join(bin) {
            chain.retire();
            return Err(error.into());
        }
        Ok(chain)
    }

    fn join(&self, bin: &gst::Bin) -> Result<(), glib::BoolError> {
        bin.add_many(&self.elements)?;
        gst::Element::link_many(&self.elements)
    }

    /// Pad that the ghost pad shows.
    pub fn src(&self) -> &gst::Pad {
        &self.src
    }

    /// Starts the elements, last first, so that nothing meets an element that is still asleep.
    pub fn start(&self) -> Result<(), MediaError> {
        for element in self.elements.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(())
    }

    /// Name of the decoder in use.
    pub fn decoder(&self) -> Option<String> {
        let decoder = self.elements.last().filter(|_| self.output == Output::Raw)?;
        Some(decoder.factory()?.name().to_string())
    }

    /// Ends the stream behind what is still queued.
    pub fn end_of_stream(&mut self) {
        self.link.disconnect();
        if let Err(error) = self.link.appsrc().end_of_stream() {
            gst::debug!(CAT, obj = self.link.appsrc(), "no end of stream: {error}");
        }
    }

    /// From now on nothing that this chain still pushes goes anywhere, and it cannot fail for lack of a peer.
    pub fn mute(&mut self) {
        self.link.disconnect();
        self.src
            .add_probe(gst::PadProbeType::DATA_DOWNSTREAM, |_, info| match info.event() {
                // Drop is for buffers; see `Gate::catch`.
                Some(_) => gst::PadProbeReturn::Handled,
                None => gst::PadProbeReturn::Drop,
            });
    }

    /// Stops and removes the elements on a thread of its own: one of them may be waiting for the application.
    pub fn retire(mut self) {
        self.mute();
        for element in &self.elements {
            element.set_locked_state(true);
        }
        spawn("media-dispose", move || {
            for element in &self.elements {
                let _ = element.set_state(gst::State::Null);
            }
            for element in &self.elements {
                if let Some(bin) = element.parent().and_downcast::<gst::Bin>() {
                    let _ = bin.remove(element);
                }
            }
        });
    }
}

fn rename(element: &gst::Element, name: &str) {
    use gst::glib::object::ObjectExt as _;
    // `gst_object_set_name` fails with a parent, and there is none yet.
    element.set_property("name", name);
}

/// The best decoder that this machine can really open.
fn make_decoder(codec: Codec) -> Result<gst::Element, MediaError> {
    for factory in codecs::decoders(codec) {
        let Ok(element) = factory.create().build() else {
            continue;
        };
        configure(&element);
        if element.set_state(gst::State::Ready).is_ok() {
            return Ok(element);
        }
        gst::info!(CAT, "decoder {} cannot be opened", factory.name());
        let _ = element.set_state(gst::State::Null);
    }
    Err(codecs::no_decoder(codec))
}

fn configure(element: &gst::Element) {
    // A damaged stream is a reason to ask for a key frame and no reason to stop.
    properties::set(element, "max-errors", "-1");
    properties::set(element, "automatic-request-sync-points", "true");
    // Opus: make up for lost packets from the redundancy in the next one.
    properties::set(element, "plc", "true");
    properties::set(element, "use-inband-fec", "true");
}
