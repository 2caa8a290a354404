//! Certificates, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Guard;

/// Makes `server.pem` and `server.key` for a host, signed by the authority whose certificate is
/// returned.
pub(super) fn certificates(dir: &Path, name: &str, address: &str) -> PathBuf {
    let names = format!("subjectAltName=DNS:{name},IP:{address}\nbasicConstraints=CA:FALSE\n");
    fs::write(dir.join("names"), names).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for words in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test"),
        format!("req {key} -keyout server.key -out server.csr -subj /CN={name}"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \
         -out server.pem"
            .to_owned(),
    ] {
        let mut command = Command::new("openssl");
        command.args(words.split_whitespace()).current_dir(dir);
        let _ = Guard::spawn(&mut command).finish().expect_code(0);
    }
    dir.join("ca.pem")
}
