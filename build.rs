//! Records version, commit and release date for the plugin's description.
fn main() {
    gst_plugin_version_helper::info();
}
