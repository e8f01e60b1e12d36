//! The pipeline of one session: webrtcbin, its senders and receivers, and how it ends.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use gst::prelude::*;

use super::message::{Mailbox, Message, Origin};
use super::receiving::{self, Receivers};
use super::registry::Ticket;
use super::sending::{self, Senders};
use super::text::scrub;
use super::webrtcbin::WebrtcBin;
use super::{CAT, Loopback, SessionContext, Timing, ice, interfaces};
use crate::core::io::SessionConfig;

/// After this the teardown counts as hung (1.22 with SCTP can), and what it tears down is leaked.
const WATCHDOG: Duration = Duration::from_secs(5);

/// A started webrtcbin and everything around it.
pub(super) struct Transport {
    /// Where it was told to listen; none: everywhere.
    addresses: Vec<IpAddr>,
    loopback: Loopback,
    pub plan: ice::IcePlan,
    pub pipeline: gst::Pipeline,
    pub webrtcbin: WebrtcBin,
    pub senders: Senders,
    pub receivers: Receivers,
}

impl Transport {
    /// Builds and starts it. A pipeline of its own, because errors, EOS, latency and states of one peer are no
    /// business of the others and of the application.
    pub fn start(
        context: &SessionContext,
        config: &SessionConfig,
        mailbox: &Mailbox,
    ) -> Result<Self, String> {
        let pipeline = gst::Pipeline::new();
        pipeline.use_clock(Some(&context.timing.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(context.timing.base_time);
        let latency = u32::try_from(context.latency.as_millis()).unwrap_or(u32::MAX);
        let plan = ice::plan(&config.ice_servers);
        let mut webrtcbin = WebrtcBin::new(config, &plan, latency)?;
        // libnice >= 0.1.20 ties the UDP socket of each address to its interface, so that what it sends to 127.0.0.1 is
        // lost on the network: such a server needs a socket on 127.0.0.1.
        let loopback = if plan.on_loopback {
            Loopback::Always
        } else {
            context.loopback
        };
        let addresses = interfaces::local_addresses(loopback);
        webrtcbin.set_local_addresses(&addresses);
        webrtcbin.connect(mailbox, receiving::guard(&pipeline, mailbox));
        watch(&pipeline, mailbox);
        pipeline
            .add(webrtcbin.element())
            .map_err(|error| error.to_string())?;
        let receivers = Receivers::new(&pipeline, context.generation, context.outlet.clone());
        let this = Self {
            addresses,
            loopback,
            plan,
            pipeline,
            webrtcbin,
            senders: Senders::default(),
            receivers,
        };
        match this.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(this),
            Err(_) => Err("webrtcbin cannot be started".into()),
        }
    }

    /// Changes clock and base time while it runs. A pipeline hands its base time on only when its state changes, so
    /// each element is told.
    pub fn set_timing(&self, timing: &Timing) {
        self.pipeline.use_clock(Some(&timing.clock));
        self.pipeline.set_base_time(timing.base_time);
        for element in self.pipeline.iterate_recurse().into_iter().flatten() {
            element.set_base_time(timing.base_time);
        }
    }

    /// Starts ICE anew. It keeps its sockets and never gathers again, so when all our addresses are others by now no
    /// path can come of it. Returns how many servers are asked for relays.
    pub fn restart_ice(&self, controlling: bool, relays: Option<&[ice::Relay]>) -> Result<usize, String> {
        let now = interfaces::local_addresses(self.loopback);
        let gone = !self.addresses.is_empty() && !now.iter().any(|address| self.addresses.contains(address));
        if gone {
            return Err("none of our addresses is left".into());
        }
        self.webrtcbin.restart_ice(controlling, relays)
    }

    /// Ends it, on a thread that may hang: `set_state(NULL)` of webrtcbin waits for threads of its own.
    pub fn dispose(mut self, ticket: &Ticket) {
        self.webrtcbin.disconnect();
        self.senders.release();
        self.receivers.release();
        let pipeline = self.pipeline.downgrade();
        let element = self.webrtcbin.element().downgrade();
        let (done, wait) = mpsc::channel();
        let reaper = std::thread::Builder::new()
            .name("metered-reaper".into())
            .spawn(move || {
                drop(self);
                let _ = done.send(());
            });
        let finished = reaper.is_ok() && wait.recv_timeout(WATCHDOG).is_ok();
        if !finished {
            gst::error!(CAT, "the teardown of a session hangs; it is left behind");
            ticket.leaked();
        } else if pipeline.upgrade().is_some() || element.upgrade().is_some() {
            gst::warning!(CAT, "a part of an ended session is still in use");
            ticket.leaked();
        }
    }
}

impl Drop for Transport {
    /// Also after a panic: elements that are dropped in PLAYING leave their threads behind. webrtcbin goes first,
    /// because it is what the others may be waiting for.
    fn drop(&mut self) {
        let _ = self.webrtcbin.element().set_state(gst::State::Null);
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
            bus.set_flushing(true);
        }
        for element in self.pipeline.children() {
            // What a streaming thread added while the pipeline was going down.
            let _ = element.set_state(gst::State::Null);
            let _ = self.pipeline.remove(&element);
        }
    }
}

/// No message stays on the bus: unread ones would keep webrtcbin alive.
fn watch(pipeline: &gst::Pipeline, mailbox: &Mailbox) {
    let Some(bus) = pipeline.bus() else { return };
    let mailbox = mailbox.clone();
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                let factory = error
                    .src()
                    .and_then(|source| source.downcast_ref::<gst::Element>())
                    .and_then(|element| element.factory())
                    .map_or_else(|| "pipeline".into(), |factory| factory.name());
                mailbox.post(Message::Error {
                    origin: origin(error.src()),
                    text: format!("{factory}: {}", scrub(error.error().message())),
                    flow: error
                        .details()
                        .and_then(|details| details.get("flow-return").ok()),
                });
            }
            gst::MessageView::Latency(_) => mailbox.post(Message::Latency),
            _ => (),
        }
        gst::BusSyncReply::Drop
    });
}

fn origin(source: Option<&gst::Object>) -> Origin {
    let mut object = source.cloned();
    while let Some(current) = object {
        let name = current.name();
        let number = |prefix| {
            name.strip_prefix(prefix)
                .and_then(|number: &str| number.parse().ok())
        };
        if let Some(id) = number(receiving::PREFIX) {
            return Origin::Receiver(id);
        }
        if let Some(number) = number(sending::PREFIX) {
            return Origin::Sender(number);
        }
        object = current.parent();
    }
    Origin::Transport
}
