#![no_main]
#[path = "drive/certs.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::certs(data));
