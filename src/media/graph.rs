//! The pipeline of one encoding: what one pad's media looks like to all subscribers of one codec.
//!
//! ```text
//! raw producer ─► appsrc ─► convert ─► encoder ─► [parser] ─► appsink ─► producer ─► one appsrc per peer
//! ```
//!
//! It is a pipeline of its own, because a leg of the application's pipeline could neither fail nor come and go
//! alone. Its appsrc has a bounded, leaky queue and a thread: that is where the encoder works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gst_utils::{ConsumptionLink, StreamProducer};

use super::codecs::{self, CodecInfo};
use super::gate::{Counters, Entry, Gate};
use super::tasks::spawn;
use super::{CAT, MediaError, encoders, plugins};
use crate::core::io::{Codec, MediaKind};

/// Frames that may wait for the encoder. A camera has few buffers, so raw frames must not pile up.
const RAW_FRAMES: u64 = 6;
/// Encoded input and audio may wait this long.
const MAX_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// What goes into the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Encode,
    Passthrough,
}

/// How to build it.
pub(crate) struct Plan<'a> {
    pub name: String,
    pub codec: Codec,
    pub mode: Mode,
    pub bitrate: u32,
    pub quiet: Duration,
    pub timing: Option<(gst::Clock, gst::ClockTime)>,
    pub raw: &'a StreamProducer,
    pub counters: Arc<Counters>,
    pub on_encoder: Option<&'a (dyn Fn(&gst::Element) + Send + Sync)>,
    /// Called on a streaming thread, at most once.
    pub on_error: Box<dyn Fn(String) + Send + Sync>,
}

/// A running encoding.
#[derive(Debug)]
pub(crate) struct Graph {
    pub pipeline: gst::Pipeline,
    pub producer: StreamProducer,
    pub gate: Arc<Gate>,
    pub encoder: Option<gst::Element>,
    feed: Option<ConsumptionLink>,
}

impl Graph {
    /// Builds and starts it. May take as long as opening an encoder takes; not for streaming threads.
    pub fn start(plan: Plan<'_>) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::with_name(&plan.name);
        let built = Self::fill(&pipeline, plan);
        if built.is_err() {
            let _ = pipeline.set_state(gst::State::Null);
        }
        built
    }

    fn fill(pipeline: &gst::Pipeline, plan: Plan<'_>) -> Result<Self, MediaError> {
        let info = codecs::info(plan.codec);
        // Its name is the name of the encoder's thread.
        let appsrc = gst_app::AppSrc::builder().name(&plan.name).build();
        let appsink = output(info);
        pipeline.add(&appsrc)?;
        let mut last: gst::Element = appsrc.clone().upcast();
        let mut encoder = None;
        if plan.mode == Mode::Encode {
            let (tail, made) = add_encoder(pipeline, &last, info, plan.bitrate)?;
            if let Some(hook) = plan.on_encoder {
                hook(&made);
            }
            (last, encoder) = (tail, Some(made));
        }
        if let Some(parser) = make_parser(info)? {
            append(pipeline, &mut last, parser)?;
        }
        append(pipeline, &mut last, appsink.clone().upcast())?;

        let entry = encoder.as_ref().unwrap_or(appsrc.upcast_ref::<gst::Element>());
        let entry = entry
            .static_pad("src")
            .ok_or_else(|| MediaError::Build("encoder without pad".into()))?;
        let entry = match info.kind {
            MediaKind::Audio => Entry::Nowhere,
            MediaKind::Video => Entry::Source(entry.downgrade()),
        };
        let gate = Gate::new(entry, plan.quiet, plan.counters.clone());
        if let Some(pad) = appsink.static_pad("sink") {
            gate.count(&pad);
            gate.catch(&pad);
        }
        if let (MediaKind::Video, Some(pad)) = (info.kind, appsrc.static_pad("src")) {
            gate.tick(&pad);
        }
        let producer = StreamProducer::with(
            &appsink,
            gst_utils::streamproducer::ProducerSettings { sync: false },
        );
        // End of stream upstream is no end of the track: a flush may start it again, and peers cannot come back
        // from an end of stream.
        producer.set_forward_events([]);
        producer.set_forward_preroll(false);
        watch_bus(pipeline, plan.on_error);
        apply_timing(pipeline, plan.timing);
        // Live before it starts: a source that turns live while it runs waits for ever.
        let settings = feed_settings(info, plan.mode);
        StreamProducer::configure_consumer_with(&appsrc, settings.clone());
        pipeline.set_state(gst::State::Playing)?;

        let feed = plan.raw.add_consumer_with(&appsrc, settings);
        let feed = feed.map_err(|error| MediaError::Build(error.to_string()))?;
        plan.counters.built.fetch_add(1, Ordering::Relaxed);
        gst::info!(CAT, obj = pipeline, "encoding runs");
        Ok(Self {
            pipeline: pipeline.clone(),
            producer,
            gate,
            encoder,
            feed: Some(feed),
        })
    }

    /// Name of the encoder's factory; nothing when the input passes through.
    pub fn encoder_name(&self) -> Option<String> {
        Some(self.encoder.as_ref()?.factory()?.name().to_string())
    }

    /// Stops and frees it on a thread of its own: an encoder may take its time, or hang.
    pub fn dispose(mut self) {
        spawn("media-dispose", move || {
            drop(self.feed.take());
            gst::info!(CAT, obj = self.pipeline, "encoding ends");
            let _ = self.pipeline.set_state(gst::State::Null);
            // `self` goes only now: a key-frame probe of a consumer that is just being detached may still look at
            // the appsink.
        });
    }
}

/// Runs it by the clock and base time of the application's pipeline, so that running times mean the same.
pub(crate) fn apply_timing(pipeline: &gst::Pipeline, timing: Option<(gst::Clock, gst::ClockTime)>) {
    pipeline.set_start_time(gst::ClockTime::NONE);
    if let Some((clock, base_time)) = timing {
        pipeline.use_clock(Some(&clock));
        pipeline.set_base_time(base_time);
    }
}

fn output(info: &CodecInfo) -> gst_app::AppSink {
    let appsink = gst_app::AppSink::builder()
        .name("encoded")
        .caps(&info.caps())
        .sync(false)
        .async_(false)
        .build();
    appsink.set_property("enable-last-sample", false);
    appsink
}

fn feed_settings(info: &CodecInfo, mode: Mode) -> gst_utils::streamproducer::ConsumerSettings {
    let few = info.kind == MediaKind::Video && mode == Mode::Encode;
    gst_utils::streamproducer::ConsumerSettings {
        max_buffer: if few { RAW_FRAMES } else { 0 },
        max_time: MAX_TIME,
        ..Default::default()
    }
}

fn append(
    pipeline: &gst::Pipeline,
    last: &mut gst::Element,
    element: gst::Element,
) -> Result<(), MediaError> {
    pipeline.add(&element)?;
    last.link(&element)?;
    *last = element;
    Ok(())
}

/// Conversion, encoder, and the filters that tell them what to make. Returns the last element and the encoder.
fn add_encoder(
    pipeline: &gst::Pipeline,
    source: &gst::Element,
    info: &CodecInfo,
    bitrate: u32,
) -> Result<(gst::Element, gst::Element), MediaError> {
    let purpose = format!("encode {}", info.name);
    let converters: &[&str] = match info.kind {
        MediaKind::Audio => &["audioconvert", "audioresample"],
        MediaKind::Video => &["videoconvertscale"],
    };
    let mut last = source.clone();
    for factory in converters {
        append(pipeline, &mut last, plugins::make(factory, factory, &purpose)?)?;
    }
    append(pipeline, &mut last, filter("raw", info.raw_caps())?)?;
    let encoder = encoders::make(info.codec, bitrate)?;
    // From here on the pipeline owns it and brings it back to NULL if anything fails.
    if let Err(error) = append(pipeline, &mut last, encoder.clone()) {
        let _ = encoder.set_state(gst::State::Null);
        return Err(error);
    }
    append(pipeline, &mut last, filter("profile", info.encoder_caps())?)?;
    Ok((last, encoder))
}

fn filter(name: &str, caps: gst::Caps) -> Result<gst::Element, MediaError> {
    Ok(gst::ElementFactory::make("capsfilter")
        .name(name)
        .property("caps", caps)
        .build()?)
}

/// The parser of a codec, set up to repeat headers with each key frame for those who join later.
pub(crate) fn make_parser(info: &CodecInfo) -> Result<Option<gst::Element>, MediaError> {
    let Some(parser) = &info.parser else {
        return Ok(None);
    };
    if !parser.required && gst::ElementFactory::find(parser.factory).is_none() {
        return Ok(None);
    }
    let element = plugins::make(parser.factory, "parser", &format!("handle {}", info.name))?;
    super::properties::set(&element, "config-interval", "-1");
    Ok(Some(element))
}

fn watch_bus(pipeline: &gst::Pipeline, on_error: Box<dyn Fn(String) + Send + Sync>) {
    let Some(bus) = pipeline.bus() else { return };
    let weak = pipeline.downgrade();
    let failed = AtomicBool::new(false);
    let recalculating = Arc::new(AtomicBool::new(false));
    // Everything is handled here, so nothing piles up on a bus that nobody reads.
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) if !failed.swap(true, Ordering::Relaxed) => {
                let source = error.src().map(|src| src.name().to_string()).unwrap_or_default();
                let debug = error.debug().unwrap_or_default();
                gst::warning!(CAT, "encoding failed in {source}: {} ({debug})", error.error());
                // The last line is what the element has to say; before it is where in its source.
                let detail = debug.lines().last().unwrap_or_default();
                on_error(format!("{source}: {} {detail}", error.error()));
            }
            gst::MessageView::Warning(warning) => {
                gst::warning!(CAT, "encoding: {} ({:?})", warning.error(), warning.debug());
            }
            // Asking for the latency from within the message could meet the thread that posts it.
            gst::MessageView::Latency(_) if !recalculating.swap(true, Ordering::AcqRel) => {
                let (weak, recalculating) = (weak.clone(), recalculating.clone());
                spawn("media-latency", move || {
                    recalculating.store(false, Ordering::Release);
                    if let Some(pipeline) = weak.upgrade() {
                        let _ = pipeline.recalculate_latency();
                    }
                });
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}
