//! `meteredwebrtcsrc`: receives the audio and video of everybody in a room.

mod imp;
mod pad;

use gst::prelude::*;

glib::wrapper! {
    /// The element.
    pub struct MeteredWebRTCSrc(ObjectSubclass<imp::MeteredWebRTCSrc>)
        @extends gst::Bin, gst::Element, gst::Object, @implements gst::ChildProxy;
}

glib::wrapper! {
    /// A pad of [`MeteredWebRTCSrc`].
    pub struct MeteredWebRTCSrcPad(ObjectSubclass<pad::MeteredWebRTCSrcPad>)
        @extends gst::GhostPad, gst::ProxyPad, gst::Pad, gst::Object;
}

/// Registers the element.
pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    MeteredWebRTCSrcPad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        plugin,
        "meteredwebrtcsrc",
        gst::Rank::NONE,
        MeteredWebRTCSrc::static_type(),
    )
}
