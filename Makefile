# kata-mshv-vm-isolation: what people type.
#
#   make demo       two pods side by side: one under runc, one in a VM
#   make test       everything that is tested
#   make build      kernel, initramfs, binaries
#   make install    a node's files (DESTDIR=, and `make uninstall`)
#   make lab        what needs a true /dev/kvm, in a machine that emulates one
#   make fuzz       every fuzz target, shortly (docs/fuzzing.md)
#   make critest    Kubernetes' own tests of a runtime (CRITEST=, its executable)
#   make bench      where the time of a pod's start goes; its network; the built-in VMM
#                   alone, or beside those in a folder (PEERS=, static builds)

release := target/x86_64-unknown-linux-gnu/release
guest   := target/guest
# By name, never by package: a package alone has its dependencies with fewer
# features, and all of them would be built once more.
tests   := cargo test --locked --workspace

.PHONY: build deps kernel lab-kernel binaries initramfs demo test lint scripts unit lab guest-test e2e fuzz critest bench install uninstall

build: initramfs
	@ls -l $(release)/containerd-shim-kata-mshv-vm-isolation-v2 $(release)/kata-mshv $(release)/kata-mshv-fs $(release)/kata-mshv-vsock $(release)/kata-mshv-vmm | awk '{print $$9, $$5, "bytes"}'

deps:
	.ci/deps.sh

kernel: deps
	guest-kernel-config/build.sh

lab-kernel: deps
	guest-kernel-config/build.sh vmm/lab/kernel

binaries: deps
	cargo build --release --locked --workspace --bins

initramfs: binaries kernel
	guest-kernel-config/initramfs.sh $(release)/kata-mshv-agent $(guest)/initramfs.cpio

demo: build
	$(release)/bed demo

# Cheap first: what fails in a second should not wait for a kernel. A lab is one
# thread of an emulator, so another processor has the pods meanwhile.
test: lint scripts unit fuzz lab-kernel
	@echo "In a lab meanwhile, shown at the end: tail -f target/lab.log"
	@$(MAKE) lab >target/lab.log 2>&1 & lab=$$!; \
	$(MAKE) guest-test e2e; pods=$$?; \
	wait $$lab; lab=$$?; cat target/lab.log; exit $$((pods | lab))
	$(MAKE) demo

lint: deps
	.ci/lint.sh

scripts: deps
	.ci/scripts.sh

# The devices' tests boot a guest, hence the kernel.
unit: build
	$(tests) --lib --bins
	cargo build --locked --workspace --example fs-guest
	$(tests) --test device --test model --test process --test vsock_guest --test this_host

# The corpus, then what a fuzzer makes of it.
fuzz: deps
	$(tests) --test corpus
	tests/fuzz/run.sh short

# Here, where /dev/kvm has hardware behind it.
lab: lab-kernel build
	$(tests) --test lab --test verdicts
	$(tests) --test jail --test devices --test guest
	$(tests) --test hostile
	$(tests) --test built-in

guest-test: build
	guest-kernel-config/boot_test.sh

# The agent in a guest, and pods through real containerds.
e2e: build
	$(tests) --test agent_guest
	$(tests) --test containerd-1-7 --test containerd-2

# With runc and with ours, on containerd VERSION (1.7 or 2); FOCUS names specs. In a lab
# (LAB=1), where all takes long, with ours alone.
critest: build $(if $(LAB),lab-kernel)
	tests/critest/images.py target/critest-images.tar
	$(release)/bed up $(if $(LAB),--lab) --version $(or $(VERSION),2) -- $(abspath tests/critest/run.py) \
		$(if $(LAB),--alone) $(abspath target/critest-images.tar) $(abspath $(CRITEST)) $(if $(FOCUS),'$(FOCUS)')

bench: build lab-kernel
	$(release)/bed bench --picture target/pod-start.svg
	$(release)/bed bench --network --runs 5
	KATA_MSHV_BENCH_PEERS=$(abspath $(PEERS)) cargo test --locked --release -p monitor --bench machines -- --nocapture
	cargo test --locked --release --workspace --bench network -- --nocapture

install:
	runtimeclass/install.sh

uninstall:
	runtimeclass/uninstall.sh
