//! The plugin's entry points.
#![allow(missing_docs, reason = "the macro writes public items without")]

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    crate::elements::register(Some(plugin))
}

gst::plugin_define!(
    meteredwebrtc,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "https://crates.io/crates/gst-plugin-meteredwebrtc",
    env!("BUILD_REL_DATE")
);
