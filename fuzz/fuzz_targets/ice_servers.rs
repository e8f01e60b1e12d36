#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gstmeteredwebrtc::fuzz::ice_servers(data));
