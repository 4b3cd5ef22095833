//! What the guest executes: an interpreter of scripts ([`crate::script`]), in
//! 64-bit mode, with its interrupts off.

// An assembler's output is found by its symbols.
#![allow(unsafe_code)]

use std::arch::global_asm;

/// Bytes of a script's entry: what to do, and three operands.
pub(crate) const ENTRY: u64 = 32;

/// What an entry does; `a`, `b` and `c` are its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Op {
    /// Waits for ever.
    Halt = 0,
    /// Writes `b` at `a`.
    Write8 = 1,
    Write16 = 2,
    Write32 = 3,
    Write64 = 4,
    /// Reads at `a`.
    Read8 = 5,
    Read16 = 6,
    Read32 = 7,
    Read64 = 8,
    /// Writes `b` to port `a`.
    Out8 = 9,
    Out16 = 10,
    Out32 = 11,
    /// Reads port `a`.
    In8 = 12,
    In16 = 13,
    In32 = 14,
    /// Goes `b` bytes back in the script, `a` times in all.
    Loop = 15,
    /// Adds `b` to the 64 bits at `a`.
    Add = 16,
    /// Waits until the 16 bits at `a` are `b`, for a while. Else it exits with
    /// the status `c`.
    Wait16 = 17,
    /// If the 32 bits at `a` are not `b`: exits with the status `c`.
    Expect32 = 18,
    /// If the 64 bits at `a` are zero: exits with the status `c`.
    ExpectSome = 19,
    /// Writes `c` bytes to port `a` from `b` on, by one instruction.
    OutMany = 20,
    /// Writes 16 bytes at `a` at once.
    Write128 = 21,
    /// Exchanges 32 bits at `a` with `b`, with the bus locked.
    Exchange = 22,
    /// Copies `c` bytes to `a` from `b` by one instruction.
    Copy = 23,
    /// Executes what is at `a`.
    Jump = 24,
}

global_asm!(
    r#"
    .pushsection .rodata.hostile_guest, "a"
    .globl hostile_guest_start
    .globl hostile_guest_end
hostile_guest_start:
    cli
    mov rax, {tables}
    mov cr3, rax
    mov rsp, {stack}
    // SSE, for accesses of 16 bytes: CR4.OSFXSR and OSXMMEXCPT.
    mov rax, cr4
    or rax, 0x600
    mov cr4, rax
    mov rsi, {script}
2:
    mov rax, [rsi]
    mov rdi, [rsi + 8]
    mov rbx, [rsi + 16]
    mov rcx, [rsi + 24]
    lea r8, [rip + 5f]
    cmp rax, 24
    ja 4f
    movsxd rax, dword ptr [r8 + rax * 4]
    add rax, r8
    jmp rax
4:
    hlt
    jmp 4b
5:
    .long 4b - 5b
    .long 21f - 5b, 22f - 5b, 23f - 5b, 24f - 5b
    .long 31f - 5b, 32f - 5b, 33f - 5b, 34f - 5b
    .long 41f - 5b, 42f - 5b, 43f - 5b
    .long 51f - 5b, 52f - 5b, 53f - 5b
    .long 61f - 5b, 62f - 5b, 63f - 5b, 64f - 5b, 65f - 5b
    .long 66f - 5b, 67f - 5b, 68f - 5b, 69f - 5b, 70f - 5b
21: mov [rdi], bl
    jmp 9f
22: mov [rdi], bx
    jmp 9f
23: mov [rdi], ebx
    jmp 9f
24: mov [rdi], rbx
    jmp 9f
31: mov al, [rdi]
    jmp 9f
32: mov ax, [rdi]
    jmp 9f
33: mov eax, [rdi]
    jmp 9f
34: mov rax, [rdi]
    jmp 9f
41: mov dx, di
    mov al, bl
    out dx, al
    jmp 9f
42: mov dx, di
    mov ax, bx
    out dx, ax
    jmp 9f
43: mov dx, di
    mov eax, ebx
    out dx, eax
    jmp 9f
51: mov dx, di
    in al, dx
    jmp 9f
52: mov dx, di
    in ax, dx
    jmp 9f
53: mov dx, di
    in eax, dx
    jmp 9f
    // Loop: what is left is kept in the last operand, and begins anew at zero,
    // for loops in loops.
61: test rcx, rcx
    jnz 6f
    mov rcx, rdi
6:  dec rcx
    mov [rsi + 24], rcx
    jz 9f
    sub rsi, rbx
    jmp 2b
62: add [rdi], rbx
    jmp 9f
63: mov r9, 2000000
7:  cmp [rdi], bx
    je 9f
    pause
    dec r9
    jnz 7b
    jmp 8f
64: cmp [rdi], ebx
    je 9f
    jmp 8f
65: cmp qword ptr [rdi], 0
    jne 9f
    jmp 8f
66: mov rdx, rdi
    mov r10, rsi
    mov rsi, rbx
    cld
    rep outsb
    mov rsi, r10
    jmp 9f
67: movups [rdi], xmm0
    jmp 9f
68: xchg [rdi], ebx
    jmp 9f
69: mov r10, rsi
    mov rsi, rbx
    cld
    rep movsb
    mov rsi, r10
    jmp 9f
70: jmp rdi
8:  mov dx, {exit}
    mov al, cl
    out dx, al
    hlt
    jmp 8b
9:  add rsi, {entry}
    jmp 2b
hostile_guest_end:
    .popsection
"#,
    tables = const crate::image::TABLES,
    stack = const crate::image::STACK,
    script = const crate::image::SCRIPT,
    exit = const crate::script::EXIT_PORT,
    entry = const ENTRY,
);

unsafe extern "C" {
    static hostile_guest_start: u8;
    static hostile_guest_end: u8;
}

/// The interpreter's instructions, which can be anywhere.
pub(crate) fn instructions() -> &'static [u8] {
    // SAFETY: both are labels of the block above, the second behind the first;
    // what is between them is never written.
    unsafe {
        let (start, end) = (&raw const hostile_guest_start, &raw const hostile_guest_end);
        std::slice::from_raw_parts(start, end.addr() - start.addr())
    }
}
