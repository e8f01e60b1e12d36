//! Layer 3: the elements' faces. They translate properties, signals and pads; they decide nothing.

mod codec_choice;
mod engine;
mod member;
mod notices;
mod notifier;
mod options;
mod publisher;
mod receiver;
mod settings;
mod sink;
mod source;
mod structure;
mod timing;
mod view;

use gst::prelude::*;
use once_cell::sync::Lazy;

pub use sink::{MeteredWebRTCSink, MeteredWebRTCSinkPad};
pub use source::{MeteredWebRTCSrc, MeteredWebRTCSrcPad};

/// Debug category of the elements: `GST_DEBUG=metered*:6` shows everything this plugin has to say.
pub static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "metered",
        gst::DebugColorFlags::empty(),
        Some("Metered room elements"),
    )
});

/// Registers all elements and types.
pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    settings::IceTransportPolicy::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    sink::register(plugin)?;
    source::register(plugin)
}
