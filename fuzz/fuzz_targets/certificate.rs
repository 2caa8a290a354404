#![no_main]
#[path = "drive/certificate.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::certificate(data));
