//! What all elements have in common: being a member of a room.
//!
//! Locks: `settings`, `view`, `engine` and `last` are never held together, and never across a signal, a message, a state
//! change or a call into the engine that could wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use glib::prelude::*;
use glib::subclass::Signal;
use serde_json::Value;

use super::CAT;
use super::engine::{Engine, Parts};
use super::notices;
use super::notifier::Notifier;
use super::options::{self, Refusal};
use super::settings::{self, Settings};
use super::view::View;
use crate::core::events::{RoomEvent, RoomInput};
use crate::core::negotiator::ReceivePolicy;
use crate::session::{self, Timing};

/// See the module.
#[derive(Default)]
pub struct Member {
    settings: Mutex<Settings>,
    view: Mutex<View>,
    engine: Mutex<Option<Engine>>,
    /// The notifier of the run before.
    last: Mutex<Option<Notifier>>,
    /// Counts the starts. Changed with `view` locked.
    run: AtomicU64,
    tokens: options::TokenSlot,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    /// Properties of every element.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut all = settings::properties();
        all.extend([
            glib::ParamSpecString::builder("state")
                .blurb("State of the membership: idle, joining, joined, reconnecting, leaving, closed")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("peer-id")
                .blurb("Our own id in the room")
                .read_only()
                .build(),
            gst::ParamSpecArray::builder("peers")
                .blurb("The peers in the room: peer-id, state, metadata")
                .element_spec(&glib::ParamSpecBoxed::builder::<gst::Structure>("peer").build())
                .flags(glib::ParamFlags::READABLE)
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .blurb("Counters: peers, connected, dropped-data; of a sink also encodings and its pads")
                .read_only()
                .build(),
        ]);
        all
    }

    /// Signals of every element: news and actions. `T` is the element's implementation.
    pub fn signals<T: HasMember>() -> Vec<Signal>
    where
        T::Type: IsA<glib::Object>,
    {
        let mut all = notices::signals();
        all.extend([
            action::<T>("send", &[String::static_type()], |member, args| {
                args[1].get::<String>().is_ok_and(|data| member.send(None, &data))
            }),
            action::<T>(
                "send-to",
                &[String::static_type(), String::static_type()],
                |member, args| match (args[1].get::<String>(), args[2].get::<String>()) {
                    (Ok(peer), Ok(data)) => member.send(Some(peer), &data),
                    _ => false,
                },
            ),
            action::<T>("restart-ice", &[String::static_type()], |member, args| {
                let peer = args[1].get::<Option<String>>().ok().flatten();
                member.tell(RoomInput::RestartIce(peer.filter(|peer| !peer.is_empty())))
            }),
            action::<T>("set-token", &[String::static_type()], |member, args| {
                args[1].get::<String>().is_ok_and(|token| member.set_token(token))
            }),
            action::<T>("close", &[], |member, _| member.close()),
        ]);
        all
    }

    /// Sets a common property; `false` if it is none.
    pub fn set_property(&self, value: &glib::Value, pspec: &glib::ParamSpec) -> bool {
        if pspec.name() == "token"
            && let Ok(Some(token)) = value.get::<Option<String>>()
        {
            self.tokens.set(token);
        }
        settings::set(&self.settings, pspec.name(), value)
    }

    /// Reads a common property.
    pub fn property(&self, pspec: &glib::ParamSpec) -> Option<glib::Value> {
        match pspec.name() {
            "state" => Some(lock(&self.view).state().to_value()),
            "peer-id" => Some(lock(&self.view).peer_id().to_value()),
            "peers" => Some(lock(&self.view).peers().to_value()),
            "stats" => Some(self.stats().build().to_value()),
            name => settings::get(&self.settings, name),
        }
    }

    /// NULL→READY: is everything there, and right?
    pub fn check(&self) -> Result<(), Refusal> {
        options::check(&lock(&self.settings).clone(), &settings::process_env)?;
        match session::lacking() {
            Some(text) => Err(Refusal::failed(text)),
            None => Ok(()),
        }
    }

    /// READY→PAUSED: starts joining; does not wait. The handler gets the number of the run, for [`Member::on_event`].
    pub fn start(
        &self,
        receive: ReceivePolicy,
        parts: Parts,
        handler: impl Fn(u64, RoomEvent) + Send + 'static,
    ) -> Result<(), Refusal> {
        let settings = lock(&self.settings).clone();
        let (room, driver) = options::assemble(&settings, &settings::process_env, receive, &self.tokens)?;
        let run = {
            let mut view = lock(&self.view);
            *view = View::default();
            self.run.fetch_add(1, Ordering::Relaxed) + 1
        };
        let before = lock(&self.last).take();
        let engine = Engine::start(room, driver, parts, before, move |event| handler(run, event))
            .map_err(|error| Refusal::failed(format!("cannot start the element's threads: {error}")))?;
        *lock(&self.engine) = Some(engine);
        Ok(())
    }

    /// PAUSED→PLAYING: running times count from a new base.
    pub fn timing_changed(&self, timing: &Timing) {
        if let Some(engine) = &*lock(&self.engine) {
            engine.set_timing(timing);
        }
    }

    /// PAUSED→READY: leaves, within two seconds.
    pub fn stop(&self) {
        let engine = lock(&self.engine).take();
        if let Some(engine) = engine {
            let notifier = engine.stop();
            *lock(&self.last) = Some(notifier);
        }
    }

    /// Tells the room something; `false` if there is none.
    pub fn tell(&self, input: RoomInput) -> bool {
        match &*lock(&self.engine) {
            Some(engine) => engine.send(input),
            None => false,
        }
    }

    fn send(&self, to: Option<String>, data: &str) -> bool {
        let Ok(data) = serde_json::from_str::<Value>(data) else {
            return false;
        };
        self.tell(match to {
            Some(to) => RoomInput::SendTo(to, data),
            None => RoomInput::Send(data),
        })
    }

    fn set_token(&self, token: String) -> bool {
        let usable = !token.is_empty();
        if usable {
            self.tokens.set(token);
        }
        usable
    }

    fn close(&self) -> bool {
        self.tell(RoomInput::Leave)
    }

    /// The common part of `stats`.
    pub fn stats(&self) -> gst::structure::Builder {
        let (peers, connected) = lock(&self.view).counts();
        let dropped = lock(&self.engine).as_ref().map_or(0, Engine::dropped_data);
        gst::Structure::builder("metered-stats")
            .field("peers", peers)
            .field("connected", connected)
            .field("dropped-data", dropped)
    }

    /// Whether the element has not been started anew since.
    pub fn is_current(&self, run: u64) -> bool {
        self.run.load(Ordering::Relaxed) == run
    }

    /// Changes the view. Keep it short.
    pub fn with_view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut lock(&self.view))
    }

    /// Notifier thread: what an element does with an event besides its own part. What an earlier run still had to say
    /// is not said: it would be taken for news of this one.
    pub fn on_event(&self, element: &gst::Element, run: u64, event: &RoomEvent) {
        {
            let mut view = lock(&self.view);
            if !self.is_current(run) {
                return;
            }
            view.update(event);
        }
        log(element, event);
        if let Some(notice) = notices::notice(event) {
            notice.tell(element);
        }
        match event {
            RoomEvent::Fatal { code, text } => post_error(element, code, text),
            RoomEvent::Retrying { text, .. } => post_retry(element, text),
            RoomEvent::Warning { text } => {
                gst::element_warning!(element, gst::ResourceError::Settings, ("{text}"));
            }
            RoomEvent::NegotiationError(peer, problem) => {
                gst::element_warning!(
                    element,
                    gst::StreamError::Failed,
                    ("peer {peer}: {} ({})", problem.text, problem.code)
                );
            }
            RoomEvent::StateChanged(..) => element.notify("state"),
            RoomEvent::Joined { .. } => element.notify("peer-id"),
            RoomEvent::PeerJoined(..) | RoomEvent::PeerLeft(..) => element.notify("peers"),
            _ => {}
        }
    }
}

/// An implementation struct with a [`Member`].
pub trait HasMember: glib::subclass::types::ObjectSubclass {
    /// The member.
    fn member(&self) -> &Member;
}

fn action<T: HasMember>(
    name: &'static str,
    types: &[glib::Type],
    run: impl Fn(&Member, &[glib::Value]) -> bool + Send + Sync + 'static,
) -> Signal
where
    T::Type: IsA<glib::Object>,
{
    Signal::builder(name)
        .param_types(types.iter().copied())
        .return_type::<bool>()
        .action()
        .class_handler(move |args| {
            let object = args[0].get::<T::Type>().ok()?;
            let imp = <T as glib::subclass::types::ObjectSubclassExt>::from_obj(&object);
            Some(run(imp.member(), args).to_value())
        })
        .build()
}

fn log(element: &gst::Element, event: &RoomEvent) {
    match event {
        RoomEvent::Data { .. } => gst::log!(CAT, obj = element, "data message"),
        RoomEvent::Retrying { text, delay_ms } => {
            gst::warning!(CAT, obj = element, "{text}; next attempt in {delay_ms} ms");
        }
        RoomEvent::NegotiationError(peer, problem) => {
            gst::warning!(
                CAT,
                obj = element,
                "peer {peer}: {}: {}",
                problem.code,
                problem.text
            );
        }
        RoomEvent::Warning { text } => gst::warning!(CAT, obj = element, "{text}"),
        other => gst::info!(CAT, obj = element, "{other:?}"),
    }
}

fn post_error(element: &gst::Element, code: &str, text: &str) {
    let kind = match code {
        "invalid_token"
        | "channel_not_authorized"
        | "account_suspended"
        | "action_not_permitted"
        | "origin_not_allowed"
        | "channel_reserved" => gst::ResourceError::NotAuthorized,
        _ => gst::ResourceError::OpenReadWrite,
    };
    gst::element_error!(element, kind, ("{text} ({code})"));
}

/// A room that cannot be reached is no error: it may come back. But somebody in front of gst-launch must see it.
fn post_retry(element: &gst::Element, text: &str) {
    gst::element_warning!(
        element,
        gst::ResourceError::OpenReadWrite,
        ("{text}; trying again")
    );
}
