//! webrtcbin with types. No other file names its signals, actions and properties.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::glib;
use gst::prelude::*;
use gst_webrtc::{
    WebRTCDTLSTransport, WebRTCDataChannel, WebRTCICEGatheringState, WebRTCPeerConnectionState,
    WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection, WebRTCSessionDescription,
};

use super::CAT;
use super::certificate::Certificate;
use super::description;
use super::ice::{IcePlan, Relay};
use super::message::{Mailbox, Message};
use super::nice::{self, Credentials};
use super::no_fec;
use super::rtp::make;
use super::text::scrub;
use super::traffic::Traffic;
use crate::core::io::{ConnectionState, IceCredentials, SessionConfig};
use crate::wire::SdpKind;

/// Stream of the channel that nobody uses. Large, because in-band channels count from zero; ids from 1024 on end the
/// association before 1.29.2.
const HELD_CHANNEL: i32 = 1022;

/// No payload type: RTP has seven bits for it.
const HIDDEN_PAYLOAD: i32 = 128;

/// Elements that webrtcbin makes when a description is set; without one of them it stops with a bare error.
const INNER: [&str; 6] = [
    "nicesrc",
    "nicesink",
    "dtlssrtpenc",
    "srtpenc",
    "rtpbin",
    "sctpenc",
];

/// What is not installed and every session needs; the text names the package.
pub fn lacking() -> Option<String> {
    std::iter::once("webrtcbin")
        .chain(INNER)
        .find(|name| gst::ElementFactory::find(name).is_none())
        .map(super::missing)
}

/// Owner of one webrtcbin.
pub(super) struct WebrtcBin {
    element: gst::Element,
    certificate: Option<Certificate>,
    handlers: Vec<glib::SignalHandlerId>,
    /// That of the agent.
    path: Option<glib::SignalHandlerId>,
    traffic: Traffic,
    /// See [`WebrtcBin::hold_data`]. On 1.22 a channel must not outlive its webrtcbin.
    data: Option<WebRTCDataChannel>,
}

impl WebrtcBin {
    /// Makes one in state NULL.
    pub fn new(config: &SessionConfig, plan: &IcePlan, latency_ms: u32) -> Result<Self, String> {
        if let Some(name) = INNER
            .iter()
            .find(|name| gst::ElementFactory::find(name).is_none())
        {
            return Err(super::missing(name));
        }
        let element = make("webrtcbin")?;
        sink_ice_agent(&element);
        let certificate = Certificate::new();
        if let Some(certificate) = &certificate {
            certificate.install(&element);
        }
        element.set_property_from_str("bundle-policy", "max-bundle");
        element.set_property("latency", latency_ms);
        if config.relay_only {
            element.set_property_from_str("ice-transport-policy", "relay");
        }
        if let Some(rtpbin) = element
            .downcast_ref::<gst::Bin>()
            .and_then(|bin| bin.by_name("rtpbin"))
        {
            // Otherwise a stalled consumer grows its jitterbuffer for ever.
            rtpbin.set_property("drop-on-latency", true);
            no_fec::remove_decoders(&element, &rtpbin);
        }
        let this = Self {
            element,
            certificate,
            handlers: Vec::new(),
            path: None,
            traffic: Traffic::default(),
            data: None,
        };
        this.set_servers(plan);
        this.tune_agent();
        this.number_sctp_associations();
        this.traffic.watch(&this.element);
        Ok(this)
    }

    /// The element, to be put into a pipeline.
    pub fn element(&self) -> &gst::Element {
        &self.element
    }

    /// How many packets have come in.
    pub fn received(&self) -> u64 {
        self.traffic.received()
    }

    fn set_servers(&self, plan: &IcePlan) {
        if let Some(stun) = &plan.stun {
            self.element.set_property("stun-server", stun);
        }
        for relay in &plan.relays {
            if !self
                .element
                .emit_by_name::<bool>("add-turn-server", &[relay.url.expose()])
            {
                gst::warning!(CAT, obj = self.element, "webrtcbin has refused a TURN server");
            }
        }
    }

    fn ice(&self) -> Option<glib::Object> {
        self.element.property::<Option<glib::Object>>("ice-agent")
    }

    /// The NiceAgent, if that is what does the work.
    fn agent(&self) -> Option<glib::Object> {
        let ice = self.ice().filter(|ice| ice.has_property("agent"))?;
        ice.property::<Option<glib::Object>>("agent")
    }

    /// Checks all candidates again, with the same credentials.
    pub fn repeat_checks(&self, peer: &Credentials) -> Result<(), String> {
        nice::repeat_checks(&self.agent().ok_or("there is no ICE agent")?, peer)
    }

    /// Whether [`WebrtcBin::restart_ice`] can do anything.
    pub fn can_restart(&self) -> bool {
        self.agent().is_some_and(|agent| nice::can_restart(&agent))
    }

    /// Starts ICE anew. The credentials of the next descriptions have to be new.
    /// Relays of these servers take the place of those there are; without a list those stay. Returns how many servers
    /// are asked.
    pub fn restart_ice(&self, controlling: bool, relays: Option<&[Relay]>) -> Result<usize, String> {
        let agent = self.agent().ok_or("there is no ICE agent")?;
        // The controlling side is the one that offers, as browsers have it. libnice 0.1.21 keeps the role it has all the
        // same, and the checks then settle the conflict.
        if agent.has_property_with_type("controlling-mode", bool::static_type()) {
            agent.set_property("controlling-mode", controlling);
        }
        nice::restart(&agent, relays)
    }

    fn tune_agent(&self) {
        let Some(ice) = self.ice() else { return };
        let set = |object: &glib::Object, name: &str, value: bool| {
            if object.has_property_with_type(name, bool::static_type()) {
                object.set_property(name, value);
            }
        };
        set(&ice, "ice-tcp", false);
        let Some(agent) = self.agent() else { return };
        // UPnP searches the LAN with threads and sockets of its own for every webrtcbin.
        set(&agent, "upnp", false);
        set(&agent, "ice-tcp", false);
        if gst::version() < (1, 24, 0, 0) {
            // GStreamer < 1.24 has no consent freshness: a dead path would never be noticed.
            set(&agent, "keepalive-conncheck", true);
        }
    }

    /// Below 1.27.1 the ids are random 16 bit numbers of the whole process, and a clash hangs the teardown. From
    /// 1.27.1 on setting them would break the association.
    fn number_sctp_associations(&self) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        if gst::version() >= (1, 27, 1, 0) {
            return;
        }
        // Wraps at 16 bits; only live sessions must differ.
        let id = NEXT.fetch_add(1, Ordering::Relaxed) % 0xfff0 + 1;
        let Some(bin) = self.element.downcast_ref::<gst::Bin>() else {
            return;
        };
        bin.connect_element_added(move |_, element| {
            let factory = element.factory().map(|factory| factory.name());
            if matches!(factory.as_deref(), Some("sctpdec" | "sctpenc")) {
                element.set_property("sctp-association-id", id);
            }
        });
    }

    /// Restricts gathering to these addresses. Only before it is started; none means: let libnice look.
    pub fn set_local_addresses(&self, addresses: &[IpAddr]) {
        let Some(ice) = self.ice() else { return };
        for address in addresses {
            if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
                gst::warning!(CAT, obj = self.element, "a local address was refused");
            }
        }
    }

    /// Connects what is told by signal. `pad_added` gets every new src pad and its m-line, on a streaming thread.
    pub fn connect(
        &mut self,
        mailbox: &Mailbox,
        pad_added: impl Fn(&gst::Pad, Option<u32>) + Send + Sync + 'static,
    ) {
        let post = mailbox.clone();
        let candidate = self.element.connect("on-ice-candidate", false, move |values| {
            let mline = values.get(1)?.get::<u32>().ok()?;
            let candidate = values.get(2)?.get::<Option<String>>().ok()?.unwrap_or_default();
            // GStreamer >= 1.24 says the end of candidates with an empty one.
            post.post(match candidate.is_empty() {
                true => Message::Gathered,
                false => Message::Candidate { mline, candidate },
            });
            None
        });
        let post = mailbox.clone();
        let connection = self
            .element
            .connect_notify(Some("connection-state"), move |element, _| {
                post.post(Message::Connection(state(element.property("connection-state"))));
            });
        let post = mailbox.clone();
        let gathering = self
            .element
            .connect_notify(Some("ice-gathering-state"), move |element, _| {
                let state: WebRTCICEGatheringState = element.property("ice-gathering-state");
                if state == WebRTCICEGatheringState::Complete {
                    post.post(Message::Gathered);
                }
            });
        let added = self.element.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Src {
                pad_added(pad, mline_of(pad));
            }
        });
        let post = mailbox.clone();
        self.path = self
            .agent()
            .and_then(|agent| nice::on_path(&agent, move |address| post.post(Message::Path(address))));
        self.handlers.extend([candidate, connection, gathering, added]);
    }

    /// Disconnects everything that [`WebrtcBin::connect`] connected, and lets go of what must not outlive it.
    pub fn disconnect(&mut self) {
        self.data = None;
        if let (Some(agent), Some(handler)) = (self.agent(), self.path.take()) {
            agent.disconnect(handler);
        }
        for handler in self.handlers.drain(..) {
            self.element.disconnect(handler);
        }
    }

    /// Creates the one data channel that keeps the data section in our offers. The peer never hears of it.
    pub fn hold_data(&mut self) {
        if self.data.is_none() {
            let options = gst::Structure::builder("options")
                .field("negotiated", true)
                .field("id", HELD_CHANNEL)
                .build();
            self.data = self
                .element
                .emit_by_name("create-data-channel", &[&"hold", &Some(options)]);
        }
    }

    /// A new sink pad whose m-line carries exactly the one codec of `caps`, under the mid of its `a-mid`.
    pub fn request_sender(&self, caps: &gst::Caps) -> Result<gst::Pad, String> {
        let template = self
            .element
            .pad_template("sink_%u")
            .ok_or("webrtcbin has no sink pads")?;
        let pad = self
            .element
            .request_pad(&template, None, Some(caps))
            .ok_or("webrtcbin has refused another sink pad")?;
        let transceiver = transceiver(&pad).ok_or("a sink pad has no transceiver")?;
        transceiver.set_codec_preferences(Some(caps));
        Ok(pad)
    }

    /// A transceiver that only receives what `caps` say, under the mid of their `a-mid`.
    pub fn add_receiver(&self, caps: &gst::Caps) -> Result<(), String> {
        let direction = WebRTCRTPTransceiverDirection::Recvonly;
        let made: Option<WebRTCRTPTransceiver> =
            self.element.emit_by_name("add-transceiver", &[&direction, caps]);
        made.map(|_| ())
            .ok_or("webrtcbin has refused another transceiver".into())
    }

    /// Keeps a sink pad's transceiver out of the peer's m-lines, or lets it be again.
    ///
    /// Answering, webrtcbin takes any transceiver of its own that has no m-line yet and whose codec fits for the
    /// peer's new m-line (as JSEP says). Our media has m-lines of its own, so until the answer is in place the
    /// transceiver pretends to have a payload type that nobody has. Once it has an m-line (a mid), it is left alone.
    pub fn hide_sender(&self, pad: &gst::Pad, caps: &gst::Caps, hidden: bool) {
        let Some(transceiver) = transceiver(pad).filter(|transceiver| transceiver.mid().is_none()) else {
            return;
        };
        let mut caps = caps.clone();
        if hidden && let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.set("payload", HIDDEN_PAYLOAD);
        }
        transceiver.set_codec_preferences(Some(&caps));
    }

    /// Starts `create-offer` or `create-answer`; the reply is the SDP. webrtcbin writes the same credentials for ever,
    /// so new ones are ours.
    pub fn create(
        &self,
        kind: SdpKind,
        ice: IceCredentials,
        mailbox: &Mailbox,
        token: u64,
    ) -> Result<(), String> {
        let credentials = match ice {
            IceCredentials::Kept => None,
            IceCredentials::New => Some(Credentials::new()?),
        };
        let (action, field) = match kind {
            SdpKind::Offer => ("create-offer", "offer"),
            SdpKind::Answer => ("create-answer", "answer"),
        };
        let certificate = self.certificate.clone();
        let promise = promise(mailbox, token, move |reply| {
            let description = reply
                .and_then(|reply| reply.get::<WebRTCSessionDescription>(field).ok())
                .ok_or("webrtcbin has given no description")?;
            let sdp = description.sdp().as_text();
            let sdp = sdp.map_err(|_| "the description cannot be written".to_owned())?;
            let sdp = match &certificate {
                Some(certificate) => certificate.correct(&sdp),
                None => sdp,
            };
            Ok(Some(match &credentials {
                Some(credentials) => credentials.replace(&sdp),
                None => sdp,
            }))
        });
        self.element
            .emit_by_name::<()>(action, &[&None::<gst::Structure>, &promise]);
        Ok(())
    }

    /// Starts `set-local-description` or `set-remote-description`.
    pub fn set(
        &self,
        side: Side,
        kind: SdpKind,
        sdp: &str,
        mailbox: &Mailbox,
        token: u64,
    ) -> Result<(), String> {
        let description = description::parse(kind, sdp)?;
        let action = match side {
            Side::Local => "set-local-description",
            Side::Remote => "set-remote-description",
        };
        let promise = promise(mailbox, token, |_| Ok(None));
        self.element.emit_by_name::<()>(action, &[&description, &promise]);
        Ok(())
    }

    /// A remote candidate; an empty one ends them.
    pub fn add_candidate(&self, mline: u32, candidate: &str) {
        if candidate.contains(char::is_control) {
            // A NUL cannot even be handed over, and no candidate has one.
            gst::warning!(CAT, obj = self.element, "a malformed candidate is ignored");
            return;
        }
        self.element
            .emit_by_name::<()>("add-ice-candidate", &[&mline, &candidate]);
    }

    /// The certificate (PEM) of the remote's DTLS, once there is one.
    pub fn remote_certificate(&self) -> Option<String> {
        let first = self
            .element
            .emit_by_name::<Option<WebRTCRTPTransceiver>>("get-transceiver", &[&0i32]);
        let transport = first
            .and_then(|first| first.sender().and_then(|sender| sender.transport()))
            .or_else(|| self.sctp_transport())?;
        transport.remote_certificate().map(Into::into)
    }

    fn sctp_transport(&self) -> Option<WebRTCDTLSTransport> {
        let sctp = self.element.property::<Option<glib::Object>>("sctp-transport")?;
        sctp.property::<Option<WebRTCDTLSTransport>>("transport")
    }
}

/// Which description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Ours.
    Local,
    /// The peer's.
    Remote,
}

/// `ice-agent` comes floating in all versions, because webrtcbin never sinks what it makes: the first binding object
/// around it would take webrtcbin's own reference and destroy the agent under it.
fn sink_ice_agent(element: &gst::Element) {
    let mut value = glib::Value::from_type(glib::Object::static_type());
    // SAFETY: `element` is a live webrtcbin, whose property "ice-agent" is a readable object; `value` is initialised
    // with a type that it can be transformed to and owns one reference of the agent until the end of this function,
    // so `agent` stays valid. `g_object_ref_sink` on a floating object clears the flag and changes no count: the
    // reference that webrtcbin counts as its own becomes a normal one. Nobody else knows the new webrtcbin yet, so
    // nothing can sink it in between; a version that sinks it itself is left alone.
    unsafe {
        use glib::gobject_ffi as ffi;
        use glib::translate::{ToGlibPtr, ToGlibPtrMut};
        ffi::g_object_get_property(
            element.as_ptr().cast(),
            c"ice-agent".as_ptr(),
            value.to_glib_none_mut().0,
        );
        let agent = ffi::g_value_get_object(value.to_glib_none().0);
        if !agent.is_null() && ffi::g_object_is_floating(agent) != glib::ffi::GFALSE {
            ffi::g_object_ref_sink(agent);
        }
    }
}

fn transceiver(pad: &gst::Pad) -> Option<WebRTCRTPTransceiver> {
    pad.has_property("transceiver")
        .then(|| pad.property::<Option<WebRTCRTPTransceiver>>("transceiver"))
        .flatten()
}

fn mline_of(pad: &gst::Pad) -> Option<u32> {
    transceiver(pad).map(|transceiver| transceiver.mlineindex())
}

fn state(state: WebRTCPeerConnectionState) -> ConnectionState {
    match state {
        WebRTCPeerConnectionState::Connecting => ConnectionState::Connecting,
        WebRTCPeerConnectionState::Connected => ConnectionState::Connected,
        WebRTCPeerConnectionState::Disconnected => ConnectionState::Disconnected,
        WebRTCPeerConnectionState::Failed => ConnectionState::Failed,
        WebRTCPeerConnectionState::Closed => ConnectionState::Closed,
        _ => ConnectionState::New,
    }
}

/// A promise whose answer goes to the mailbox. Never expire one: `gst_promise_expire` forgets the closure but not its
/// destructor, and gstreamer-rs 0.25 then frees a null pointer. A session that ends in the middle of an operation
/// lets webrtcbin free the promise unanswered; GStreamer warns of it, and that is all.
fn promise(
    mailbox: &Mailbox,
    token: u64,
    read: impl FnOnce(Option<&gst::StructureRef>) -> Result<Option<String>, String> + Send + 'static,
) -> gst::Promise {
    let mailbox = mailbox.clone();
    gst::Promise::with_change_func(move |reply| {
        let reply = match reply {
            Ok(reply) => match reply.and_then(|reply| reply.get::<glib::Error>("error").ok()) {
                Some(error) => Err(scrub(error.message())),
                None => read(reply),
            },
            Err(_) => Err("webrtcbin has dropped the request".into()),
        };
        mailbox.post(Message::Reply { token, reply });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::io::IceServer;
    use crate::session::ice;
    use crate::wire::secret::Secret;

    fn made(config: &SessionConfig) -> WebrtcBin {
        gst::init().unwrap();
        WebrtcBin::new(config, &ice::plan(&config.ice_servers), 50).unwrap()
    }

    #[test]
    fn the_agent_outlives_its_wrappers() {
        let bin = made(&SessionConfig::default());
        let agent = bin.ice().unwrap();
        let count = agent.ref_count();
        for _ in 0..5 {
            assert_eq!(bin.ice().unwrap().ref_count(), count + 1);
        }
        let weak = agent.downgrade();
        drop(agent);
        assert_eq!(weak.upgrade().unwrap().ref_count(), count);
        drop(bin);
        assert!(weak.upgrade().is_none(), "the agent has leaked");
    }

    #[test]
    fn the_agent_is_tuned() {
        let bin = made(&SessionConfig::default());
        let agent = bin.ice().unwrap().property::<glib::Object>("agent");
        assert!(!agent.property::<bool>("upnp"));
        assert!(!agent.property::<bool>("ice-tcp"));
        // Ours, or what consent freshness brings along from 1.24 on.
        assert!(agent.property::<bool>("keepalive-conncheck"));
    }

    #[test]
    fn servers_are_taken() {
        let server = |url: &str| IceServer {
            urls: vec![url.into()],
            username: Some(Secret::new("1700:a+8-x@y.z".into())),
            credential: Some(Secret::new("p@ss:w?r/d#1%=".into())),
        };
        let urls = [
            "turn:127.0.0.1",
            "turn:[::1]:9?transport=tcp",
            "turn:a.invalid:80?transport=udp",
        ];
        let servers: Vec<_> = urls.into_iter().map(server).collect();
        let bin = made(&SessionConfig {
            ice_servers: vec![server("stun:[::1]:3478")],
            relay_only: true,
        });
        assert_eq!(
            bin.element().property::<String>("stun-server"),
            "stun://[::1]:3478"
        );
        let relays = ice::plan(&servers).relays;
        assert_eq!(relays.len(), 3);
        for relay in relays {
            let taken = bin
                .element()
                .emit_by_name::<bool>("add-turn-server", &[relay.url.expose()]);
            assert!(taken, "{}", relay.name);
        }
    }
}
