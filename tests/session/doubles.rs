//! What stands in for encoders and decoders.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::ProducerSettings;
use gstmeteredwebrtc::core::io::{Codec, Generation, TrackKey};
use gstmeteredwebrtc::session::{Feed, FeedError, Outlet, Timing};

use crate::harness::{Note, Notes};

/// Encoders that run as long as the test.
pub struct Encoders {
    side: usize,
    notes: Notes,
    pipeline: gst::Pipeline,
    producers: HashMap<TrackKey, StreamProducer>,
    timing: Timing,
    /// Encoders of other codecs, made when they are asked for.
    others: Mutex<Vec<(gst::Pipeline, StreamProducer)>>,
    /// Who was fed last.
    pub appsrcs: Mutex<HashMap<TrackKey, gst_app::AppSrc>>,
}

pub const VIDEO: TrackKey = TrackKey(1);
pub const AUDIO: TrackKey = TrackKey(2);

impl Encoders {
    pub fn new(side: usize, notes: &Notes, timing: &Timing) -> Self {
        let text = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=15/1 \
             ! vp8enc name=video deadline=1 keyframe-max-dist=150 ! appsink name=v async=false \
             audiotestsrc is-live=true ! opusenc name=audio ! appsink name=a async=false";
        let pipeline = gst::parse::launch(text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        pipeline.use_clock(Some(&timing.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(timing.base_time);
        let producer = |name| {
            let sink = pipeline
                .by_name(name)
                .unwrap()
                .downcast::<gst_app::AppSink>()
                .unwrap();
            StreamProducer::with(&sink, ProducerSettings { sync: false })
        };
        let producers = HashMap::from([(VIDEO, producer("v")), (AUDIO, producer("a"))]);
        let post = notes.clone();
        let pad = pipeline.by_name("video").unwrap().static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            if info
                .event()
                .is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event))
            {
                let _ = post.send((side, Note::KeyUnit(VIDEO)));
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            side,
            notes: notes.clone(),
            pipeline,
            producers,
            timing: timing.clone(),
            others: Mutex::default(),
            appsrcs: Mutex::default(),
        }
    }
}

/// An encoder for a codec that the standing pipeline has not. It gives a key frame every second: on a busy
/// machine the first may come before there is anybody to take it, and nobody here asks for another.
fn encoder(codec: Codec) -> Option<&'static str> {
    Some(match codec {
        Codec::H264 => {
            "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=15/1 \
             ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 \
             ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au"
        }
        Codec::Vp9 => {
            "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=15/1 \
             ! vp9enc deadline=1 keyframe-max-dist=15"
        }
        Codec::Pcmu => "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc",
        Codec::Pcma => "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc",
        _ => return None,
    })
}

impl Encoders {
    fn other(&self, codec: Codec) -> Option<StreamProducer> {
        let text = format!("{} ! appsink name=out async=false", encoder(codec)?);
        let pipeline = gst::parse::launch(&text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        pipeline.use_clock(Some(&self.timing.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.timing.base_time);
        let sink = pipeline
            .by_name("out")
            .unwrap()
            .downcast::<gst_app::AppSink>()
            .unwrap();
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        pipeline.set_state(gst::State::Playing).unwrap();
        self.others.lock().unwrap().push((pipeline, producer.clone()));
        Some(producer)
    }
}

impl Drop for Encoders {
    fn drop(&mut self) {
        for (pipeline, _) in self.others.lock().unwrap().drain(..) {
            let _ = pipeline.set_state(gst::State::Null);
        }
        self.producers.clear();
        self.appsrcs.lock().unwrap().clear();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

struct Guard(
    #[allow(dead_code)] gst_utils::ConsumptionLink,
    Notes,
    usize,
    TrackKey,
);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.1.send((self.2, Note::Detached(self.3)));
    }
}

impl Feed for Encoders {
    fn attach(
        &self,
        track: TrackKey,
        codec: Codec,
        appsrc: &gst_app::AppSrc,
    ) -> Result<Box<dyn Any + Send>, FeedError> {
        let known = || self.producers.get(&track).cloned();
        let producer = self.other(codec).or_else(known).ok_or(FeedError::UnknownTrack)?;
        let link = producer
            .add_consumer(appsrc)
            .map_err(|error| FeedError::Unavailable(error.to_string()))?;
        self.appsrcs.lock().unwrap().insert(track, appsrc.clone());
        let _ = self.notes.send((self.side, Note::Attached(track)));
        Ok(Box::new(Guard(link, self.notes.clone(), self.side, track)))
    }
}

/// Counts what comes out of each m-line.
pub struct Counters {
    side: usize,
    notes: Notes,
    sinks: Mutex<HashMap<String, (gst::Pipeline, gst_utils::ConsumptionLink)>>,
    /// Kills the consumer of this mid on its first frame.
    pub saboteur: Mutex<Option<String>>,
}

impl Counters {
    pub fn new(side: usize, notes: &Notes) -> Self {
        let notes = notes.clone();
        Self {
            side,
            notes,
            sinks: Mutex::default(),
            saboteur: Mutex::default(),
        }
    }

    fn drop_sink(&self, mid: &str) {
        let old = self.sinks.lock().unwrap().remove(mid);
        if let Some((pipeline, link)) = old {
            drop(link);
            let _ = pipeline.set_state(gst::State::Null);
        }
    }

    /// The appsink of a producer in use.
    pub fn appsink(&self, mid: &str) -> gst_app::AppSink {
        let sinks = self.sinks.lock().unwrap();
        sinks[mid].1.stream_producer().unwrap().appsink().clone()
    }
}

impl Outlet for Counters {
    fn media(&self, _: Generation, mid: &str, codec: Codec, producer: StreamProducer) {
        self.drop_sink(mid);
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().build();
        let broken = self.saboteur.lock().unwrap().as_deref() == Some(mid);
        let notes = self.notes.clone();
        let (side, name, count) = (self.side, mid.to_owned(), AtomicU64::new(0));
        let sink = gst_app::AppSink::builder()
            .sync(false)
            .async_(false)
            .callbacks(
                gst_app::AppSinkCallbacks::builder()
                    .new_sample(move |sink| {
                        let _ = sink.pull_sample();
                        let now = count.fetch_add(1, Ordering::Relaxed) + 1;
                        let _ = notes.send((side, Note::Frames(name.clone(), now)));
                        if broken {
                            Err(gst::FlowError::Error)
                        } else {
                            Ok(gst::FlowSuccess::Ok)
                        }
                    })
                    .build(),
            )
            .build();
        StreamProducer::configure_consumer(&source);
        pipeline
            .add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()])
            .unwrap();
        source.link(&sink).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let link = producer.add_consumer(&source).unwrap();
        self.sinks.lock().unwrap().insert(mid.into(), (pipeline, link));
        let _ = self.notes.send((self.side, Note::Media(mid.into(), codec)));
    }

    fn ended(&self, _: Generation, mid: &str) {
        self.drop_sink(mid);
        let _ = self.notes.send((self.side, Note::Ended(mid.into())));
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        for (_, (pipeline, link)) in self.sinks.lock().unwrap().drain() {
            drop(link);
            let _ = pipeline.set_state(gst::State::Null);
        }
    }
}
