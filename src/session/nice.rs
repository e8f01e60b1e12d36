//! What of libnice webrtcbin has no use for: starting ICE anew, other relays, and which address of ours is in use.
//!
//! The functions are looked up in the libnice that webrtcbin has brought along, never linked: a second one in the process would be
//! worse than none, and some builds of GStreamer have none.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use gst::glib;
use gst::glib::subclass::signal::SignalId;
use gst::prelude::*;

use super::CAT;
use super::ice::Relay;
use crate::wire::{IceTransport, Secret};

/// libnice 0.1, as the dynamic linker knows it.
#[cfg(target_os = "linux")]
const LIBRARY: &CStr = c"libnice.so.10";
#[cfg(target_os = "macos")]
const LIBRARY: &CStr = c"libnice.10.dylib";

/// The functions, from one libnice.
#[derive(Clone, Copy)]
struct Functions {
    restart: RestartFn,
    local_credentials: LocalCredentialsFn,
    set_local_credentials: SetCredentialsFn,
    set_remote_credentials: SetCredentialsFn,
    remote_candidates: RemoteCandidatesFn,
    set_remote_candidates: SetRemoteCandidatesFn,
    free_candidate: FreeCandidateFn,
    forget_relays: ForgetRelaysFn,
    set_relay_info: SetRelayInfoFn,
}

/// `gboolean nice_agent_restart (NiceAgent *agent)`
type RestartFn = unsafe extern "C" fn(*mut glib::gobject_ffi::GObject) -> glib::ffi::gboolean;

/// `gboolean nice_agent_get_local_credentials (NiceAgent *agent, guint stream_id, gchar **ufrag, gchar **pwd)`
type LocalCredentialsFn = unsafe extern "C" fn(
    *mut glib::gobject_ffi::GObject,
    libc::c_uint,
    *mut *mut libc::c_char,
    *mut *mut libc::c_char,
) -> glib::ffi::gboolean;

/// `gboolean nice_agent_set_local_credentials`, `…_remote_…` `(NiceAgent *agent, guint stream_id, const gchar *ufrag, const gchar *pwd)`
type SetCredentialsFn = unsafe extern "C" fn(
    *mut glib::gobject_ffi::GObject,
    libc::c_uint,
    *const libc::c_char,
    *const libc::c_char,
) -> glib::ffi::gboolean;

/// `GSList *nice_agent_get_remote_candidates (NiceAgent *agent, guint stream_id, guint component_id)`: copies.
type RemoteCandidatesFn = unsafe extern "C" fn(
    *mut glib::gobject_ffi::GObject,
    libc::c_uint,
    libc::c_uint,
) -> *mut glib::ffi::GSList;

/// `int nice_agent_set_remote_candidates (NiceAgent *agent, guint stream_id, guint component_id, const GSList *candidates)`
type SetRemoteCandidatesFn = unsafe extern "C" fn(
    *mut glib::gobject_ffi::GObject,
    libc::c_uint,
    libc::c_uint,
    *const glib::ffi::GSList,
) -> libc::c_int;

/// `void nice_candidate_free (NiceCandidate *candidate)`
type FreeCandidateFn = unsafe extern "C" fn(glib::ffi::gpointer);

/// `gboolean nice_agent_forget_relays (NiceAgent *agent, guint stream_id, guint component_id)`
type ForgetRelaysFn =
    unsafe extern "C" fn(*mut glib::gobject_ffi::GObject, libc::c_uint, libc::c_uint) -> glib::ffi::gboolean;

/// `gboolean nice_agent_set_relay_info (NiceAgent *agent, guint stream_id, guint component_id, const gchar *server_ip,
/// guint server_port, const gchar *username, const gchar *password, NiceRelayType type)`
type SetRelayInfoFn = unsafe extern "C" fn(
    *mut glib::gobject_ffi::GObject,
    libc::c_uint,
    libc::c_uint,
    *const libc::c_char,
    libc::c_uint,
    *const libc::c_char,
    *const libc::c_char,
    libc::c_int,
) -> glib::ffi::gboolean;

/// Everything is bundled on one component of one stream, and both are counted from one.
const STREAM: libc::c_uint = 1;
const COMPONENT: libc::c_uint = 1;

/// `NiceRelayType`
const RELAY_UDP: libc::c_int = 0;
const RELAY_TCP: libc::c_int = 1;

/// Characters of credentials (RFC 8839 §5.4) in groups of four: three bytes each. RFC 8445 §5.3 asks for 24 and 128
/// bits of randomness.
const UFRAG_BYTES: usize = 6;
const PWD_BYTES: usize = 24;

/// Whether ICE can be started anew on this agent.
pub(super) fn can_restart(agent: &glib::Object) -> bool {
    let nice = agent.type_().name() == "NiceAgent";
    let can = nice && functions().is_some();
    if !can {
        static SAID: OnceLock<()> = OnceLock::new();
        SAID.get_or_init(|| {
            gst::warning!(
                CAT,
                "no ICE restart without libnice 0.1: lost connections are made anew"
            );
        });
    }
    can
}

/// Starts ICE anew: forgets the peer's candidates and checks, keeps sockets and own candidates, and sends on the old
/// pair until there is a new one. Given relays, it also gives all allocations back but that of the pair in use, and asks
/// these servers for new ones (`add-turn-server` of webrtcbin forgets nothing, and ignores a server that it knows).
/// Returns how many servers were taken.
pub(super) fn restart(agent: &glib::Object, relays: Option<&[Relay]>) -> Result<usize, String> {
    if !can_restart(agent) {
        return Err("this libnice cannot restart ICE".into());
    }
    let functions = functions().ok_or("libnice has gone")?;
    // SAFETY: this is nice_agent_restart of the libnice that is loaded (see `functions`), and `agent` is a live
    // NiceAgent, as its type says. It takes the agent's own lock and may be called from any thread.
    if unsafe { (functions.restart)(agent.as_ptr()) } == glib::ffi::GFALSE {
        return Err("libnice has refused to restart ICE".into());
    }
    Ok(relays.map_or(0, |relays| renew_relays(agent, functions, relays)))
}

/// Right after a restart only. Forgetting the relay of the selected pair takes that pair's priority away, and libnice
/// 0.1.21 ends the process (`priv_prune_pending_checks`) when it then looks at a check list with a nominated pair. The
/// restart has emptied the list, and nothing can be nominated before both sides have the credentials of the descriptions
/// to come.
fn renew_relays(agent: &glib::Object, functions: Functions, relays: &[Relay]) -> usize {
    // SAFETY: as in `restart`; a stream that does not exist is refused.
    if unsafe { (functions.forget_relays)(agent.as_ptr(), STREAM, COMPONENT) } == glib::ffi::GFALSE {
        gst::warning!(CAT, "libnice has refused to forget its relays");
        return 0;
    }
    let add = |relay: &&Relay| {
        let text = |text: &str| CString::new(text).ok();
        let (Some(host), Some(user), Some(password)) = (
            text(&relay.host),
            text(relay.user.expose()),
            text(relay.password.expose()),
        ) else {
            return false;
        };
        let kind = match relay.transport {
            IceTransport::Udp => RELAY_UDP,
            IceTransport::Tcp => RELAY_TCP,
        };
        let port = libc::c_uint::from(relay.port);
        // SAFETY: as above. The three strings end with NUL and live until the call returns; libnice copies them.
        let taken = unsafe {
            (functions.set_relay_info)(
                agent.as_ptr(),
                STREAM,
                COMPONENT,
                host.as_ptr(),
                port,
                user.as_ptr(),
                password.as_ptr(),
                kind,
            )
        };
        taken != glib::ffi::GFALSE
    };
    relays.iter().filter(add).count()
}

/// Checks all candidates again, with the credentials there are. libnice does not check a pair that has failed, so this is a
/// restart which puts everything back that it throws away; the peer notices nothing.
pub(super) fn repeat_checks(agent: &glib::Object, peer: &Credentials) -> Result<(), String> {
    if !can_restart(agent) {
        return Err("this libnice cannot restart ICE".into());
    }
    let functions = functions().ok_or("libnice has gone")?;
    let text = |text: &str| CString::new(text).map_err(|_| "no credentials".to_owned());
    let (peer_ufrag, peer_pwd) = (text(&peer.ufrag)?, text(peer.pwd.expose())?);
    let agent = agent.as_ptr();
    let (mut ufrag, mut pwd) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as in `restart`; a stream that does not exist is refused. The two strings and the list with its candidates
    // are ours once they are given, and freed once, at the end; libnice copies what it is handed. `peer_ufrag` and
    // `peer_pwd` end with NUL and live until the end.
    unsafe {
        let found = (functions.local_credentials)(agent, STREAM, &mut ufrag, &mut pwd);
        // libnice says TRUE of a stream that does not exist.
        if found == glib::ffi::GFALSE || ufrag.is_null() || pwd.is_null() {
            return Err("there is no stream".into());
        }
        let candidates = (functions.remote_candidates)(agent, STREAM, COMPONENT);
        (functions.restart)(agent);
        (functions.set_local_credentials)(agent, STREAM, ufrag, pwd);
        (functions.set_remote_credentials)(agent, STREAM, peer_ufrag.as_ptr(), peer_pwd.as_ptr());
        (functions.set_remote_candidates)(agent, STREAM, COMPONENT, candidates);
        glib::ffi::g_slist_free_full(candidates, Some(functions.free_candidate));
        glib::ffi::g_free(ufrag.cast());
        glib::ffi::g_free(pwd.cast());
    }
    Ok(())
}

/// Calls this with the address of this machine that packets leave from, whenever ICE has chosen a pair; for a relay, that
/// with which the relay is reached. On a thread of libnice.
pub(super) fn on_path(
    agent: &glib::Object,
    tell: impl Fn(IpAddr) + Send + Sync + 'static,
) -> Option<glib::SignalHandlerId> {
    const SIGNAL: &str = "new-selected-pair-full";
    if agent.type_().name() != "NiceAgent" || SignalId::lookup(SIGNAL, agent.type_()).is_none() {
        return None;
    }
    Some(agent.connect(SIGNAL, false, move |values| {
        // Stream, component, our candidate, the peer's.
        if let Some(address) = values.get(3).and_then(base_address) {
            tell(address);
        }
        None
    }))
}

/// The beginning of a `NiceCandidate`: the same in every libnice 0.1, because it is public.
#[repr(C)]
struct Candidate {
    kind: libc::c_int,
    transport: libc::c_int,
    address: Address,
    base: Address,
}

/// `NiceAddress`: as large as the larger of the two.
#[repr(C)]
#[derive(Clone, Copy)]
union Address {
    any: libc::sockaddr,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// The address of the socket that a candidate belongs to.
fn base_address(value: &glib::Value) -> Option<IpAddr> {
    if value.type_().name() != "NiceCandidate" {
        return None;
    }
    // SAFETY: `value` holds a boxed NiceCandidate, as its type says, so the pointer is null or that of a candidate which
    // lives as long as the value. Its beginning is as in `Candidate`, aligned as libnice has it, and every bit pattern
    // is valid for those members. The family says which member of the union was written.
    unsafe {
        let candidate =
            glib::gobject_ffi::g_value_get_boxed(glib::translate::ToGlibPtr::to_glib_none(value).0)
                .cast::<Candidate>()
                .as_ref()?;
        match libc::c_int::from(candidate.base.any.sa_family) {
            libc::AF_INET => Some(Ipv4Addr::from(candidate.base.v4.sin_addr.s_addr.to_ne_bytes()).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(candidate.base.v6.sin6_addr.s6_addr).into()),
            _ => None,
        }
    }
}

/// Looked up once there is an agent: then libnice is loaded, and stays so, because types cannot be unloaded.
fn functions() -> Option<Functions> {
    static FUNCTIONS: OnceLock<Option<Functions>> = OnceLock::new();
    *FUNCTIONS.get_or_init(look_up)
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn look_up() -> Option<Functions> {
    // SAFETY: all strings end with NUL. RTLD_NOLOAD only finds what is in the process already, so no code of a library
    // is run. The handle is kept, so the functions stay where they are. A null pointer is no function and becomes
    // `None`; any other is the function of this name, whose signature is the same in every libnice 0.1.
    unsafe {
        let library = libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
        if library.is_null() {
            return None;
        }
        let symbol = |name: &CStr| libc::dlsym(library, name.as_ptr());
        Some(Functions {
            restart: std::mem::transmute::<*mut libc::c_void, Option<RestartFn>>(symbol(
                c"nice_agent_restart",
            ))?,
            local_credentials: std::mem::transmute::<*mut libc::c_void, Option<LocalCredentialsFn>>(symbol(
                c"nice_agent_get_local_credentials",
            ))?,
            set_local_credentials: std::mem::transmute::<*mut libc::c_void, Option<SetCredentialsFn>>(
                symbol(c"nice_agent_set_local_credentials"),
            )?,
            set_remote_credentials: std::mem::transmute::<*mut libc::c_void, Option<SetCredentialsFn>>(
                symbol(c"nice_agent_set_remote_credentials"),
            )?,
            remote_candidates: std::mem::transmute::<*mut libc::c_void, Option<RemoteCandidatesFn>>(symbol(
                c"nice_agent_get_remote_candidates",
            ))?,
            set_remote_candidates: std::mem::transmute::<*mut libc::c_void, Option<SetRemoteCandidatesFn>>(
                symbol(c"nice_agent_set_remote_candidates"),
            )?,
            free_candidate: std::mem::transmute::<*mut libc::c_void, Option<FreeCandidateFn>>(symbol(
                c"nice_candidate_free",
            ))?,
            forget_relays: std::mem::transmute::<*mut libc::c_void, Option<ForgetRelaysFn>>(symbol(
                c"nice_agent_forget_relays",
            ))?,
            set_relay_info: std::mem::transmute::<*mut libc::c_void, Option<SetRelayInfoFn>>(symbol(
                c"nice_agent_set_relay_info",
            ))?,
        })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn look_up() -> Option<Functions> {
    None
}

/// ICE credentials.
pub(super) struct Credentials {
    ufrag: String,
    pwd: Secret<String>,
}

impl Credentials {
    /// From the system's randomness.
    pub fn new() -> Result<Self, String> {
        let mut bytes = [0; UFRAG_BYTES + PWD_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| format!("the system has no randomness: {error}"))?;
        let (ufrag, pwd) = bytes.split_at(UFRAG_BYTES);
        // The alphabet of base64 is that of credentials; whole groups need no padding.
        Ok(Self {
            ufrag: glib::base64_encode(ufrag).into(),
            pwd: Secret::new(glib::base64_encode(pwd).into()),
        })
    }

    /// Those of a description; all sections of ours have the same.
    pub fn of(sdp: &str) -> Option<Self> {
        let value = |name| sdp.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            ufrag: value("a=ice-ufrag:")?.to_owned(),
            pwd: Secret::new(value("a=ice-pwd:")?.to_owned()),
        })
    }

    /// Puts them into every section.
    pub fn replace(&self, sdp: &str) -> String {
        let line = |line: &str| {
            if line.starts_with("a=ice-ufrag:") {
                format!("a=ice-ufrag:{}\r\n", self.ufrag)
            } else if line.starts_with("a=ice-pwd:") {
                format!("a=ice-pwd:{}\r\n", self.pwd.expose())
            } else {
                line.to_owned()
            }
        };
        sdp.split_inclusive('\n').map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::transport::is_ice_token;

    #[test]
    fn credentials_are_new_and_in_every_section() {
        let sdp =
            "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=a\r\na=ice-ufrag:abcd\r\na=ice-pwd:x\r\na=mid:0\r\n";
        let made = Credentials::new().unwrap();
        assert!(is_ice_token(&made.ufrag, 8) && is_ice_token(made.pwd.expose(), 32));
        let text = made.replace(sdp);
        assert_eq!(text.matches(&made.ufrag).count(), 2);
        assert_eq!(text.matches(made.pwd.expose()).count(), 2);
        let read = Credentials::of(&text).unwrap();
        assert_eq!((&read.ufrag, read.pwd.expose()), (&made.ufrag, made.pwd.expose()));
        assert!(Credentials::of("v=0\r\n").is_none());
        assert!(!text.contains("abcd") && text.ends_with("\r\na=mid:0\r\n"));
        assert_ne!(Credentials::new().unwrap().ufrag, made.ufrag);
    }

    #[test]
    fn an_agent_restarts_and_another_object_does_not() {
        gst::init().unwrap();
        let bin = gst::ElementFactory::make("webrtcbin").build().unwrap();
        assert!(restart(bin.upcast_ref(), None).is_err());
        drop(bin);
        let config = crate::core::io::SessionConfig::default();
        let bin =
            super::super::webrtcbin::WebrtcBin::new(&config, &super::super::ice::plan(&[]), 50).unwrap();
        assert!(bin.can_restart());
        // No stream yet.
        assert!(bin.repeat_checks(&Credentials::new().unwrap()).is_err());
        assert_eq!(bin.restart_ice(true, Some(&[])), Ok(0));
        assert_eq!(
            functions().map(|f| f.restart as usize),
            look_up().map(|f| f.restart as usize)
        );
    }
}
