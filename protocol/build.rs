//! Generates the messages and the async ttrpc service from `proto/agent.proto`.

use std::path::Path;

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

fn main() {
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    println!("cargo:rerun-if-changed=proto");
    Codegen::new()
        .out_dir(&out)
        .inputs(["proto/agent.proto"])
        .include("proto")
        .rust_protobuf()
        .customize(Customize {
            async_all: true,
            ..Default::default()
        })
        .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(false))
        .run()
        .expect("proto/agent.proto compiles");
    for file in ["agent.rs", "agent_ttrpc.rs"] {
        make_includable(&Path::new(&out).join(file));
    }
}

/// `include!` takes no inner attributes: `src/generated.rs` holds them instead.
fn make_includable(path: &Path) {
    let generated = std::fs::read_to_string(path).expect("just generated");
    let inner = |line: &&str| line.starts_with("#![") || line.starts_with("//!");
    let kept: Vec<_> = generated.lines().filter(|line| !inner(line)).collect();
    std::fs::write(path, kept.join("\n")).expect("the output folder is writable");
}
