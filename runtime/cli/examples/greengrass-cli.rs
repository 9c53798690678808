//! The command line by itself: `cargo run -p cli --example greengrass-cli -- --help`

fn main() {
    std::process::exit(cli::run(std::env::args_os()));
}
