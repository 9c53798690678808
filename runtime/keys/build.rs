//! Says whether the OpenSSL that is built against still has engines (OpenSSL 4 has none).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(engine)");
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").unwrap_or_default();
    let version = u64::from_str_radix(&version, 16).unwrap_or_default();
    let without = std::env::var("DEP_OPENSSL_CONF").unwrap_or_default();
    let has_engines =
        version < 0x4000_0000 && !without.split(',').any(|c| c == "OPENSSL_NO_ENGINE");
    if has_engines {
        println!("cargo:rustc-cfg=engine");
    }
}
