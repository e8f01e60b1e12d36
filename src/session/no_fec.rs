//! No decoders for forward error correction in webrtcbin: no description of ours agrees on it.

use gst::glib;
use gst::glib::subclass::signal::SignalId;
use gst::prelude::*;

/// The signal with which rtpbin asks for a decoder for each stream that comes in.
const DECODER: &str = "request-fec-decoder-full";

/// webrtcbin answers it with an element whatever was agreed on. rtpbin asks on the thread of each stream's jitterbuffer
/// and keeps a list of the answers without a lock: two streams that begin at once may lose an entry, and the element
/// stays for ever (rtpbin of 1.22, `session_request_element_full`; three in 400 visits).
pub(super) fn remove_decoders(webrtcbin: &gst::Element, rtpbin: &gst::Element) {
    let Some(signal) = SignalId::lookup(DECODER, rtpbin.type_()) else {
        return;
    };
    // SAFETY: both are live objects, and `signal` is one of rtpbin's type. With this mask only the signal and the data are
    // compared, here webrtcbin itself; the other arguments are not looked at, and nothing is kept. Handlers are removed
    // under GLib's own lock.
    unsafe {
        glib::gobject_ffi::g_signal_handlers_disconnect_matched(
            glib::translate::ToGlibPtr::<*mut glib::gobject_ffi::GObject>::to_glib_none(
                rtpbin.upcast_ref::<glib::Object>(),
            )
            .0,
            glib::gobject_ffi::G_SIGNAL_MATCH_ID | glib::gobject_ffi::G_SIGNAL_MATCH_DATA,
            glib::translate::IntoGlib::into_glib(signal),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            webrtcbin.as_ptr().cast(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webrtcbin_makes_no_decoder_any_more() {
        gst::init().unwrap();
        let bin = gst::ElementFactory::make("webrtcbin").build().unwrap();
        let rtpbin = bin.downcast_ref::<gst::Bin>().unwrap().by_name("rtpbin").unwrap();
        let signal = SignalId::lookup(DECODER, rtpbin.type_()).unwrap();
        let handled = || {
            // SAFETY: as above; it only asks.
            unsafe {
                glib::gobject_ffi::g_signal_has_handler_pending(
                    rtpbin.as_ptr().cast(),
                    glib::translate::IntoGlib::into_glib(signal),
                    0,
                    glib::ffi::GTRUE,
                ) != glib::ffi::GFALSE
            }
        };
        assert!(handled());
        remove_decoders(&bin, &rtpbin);
        assert!(!handled());
    }
}
