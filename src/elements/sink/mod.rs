//! `meteredwebrtcsink`: publishes audio and video to everybody in a room.

mod imp;
mod pad;

use gst::prelude::*;

glib::wrapper! {
    /// The element.
    pub struct MeteredWebRTCSink(ObjectSubclass<imp::MeteredWebRTCSink>)
        @extends gst::Bin, gst::Element, gst::Object, @implements gst::ChildProxy;
}

glib::wrapper! {
    /// A pad of [`MeteredWebRTCSink`].
    pub struct MeteredWebRTCSinkPad(ObjectSubclass<pad::MeteredWebRTCSinkPad>)
        @extends gst::GhostPad, gst::ProxyPad, gst::Pad, gst::Object;
}

/// Registers the element.
pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    MeteredWebRTCSinkPad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        plugin,
        "meteredwebrtcsink",
        gst::Rank::NONE,
        MeteredWebRTCSink::static_type(),
    )
}
