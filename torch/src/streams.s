# What the native part of torch-sys calls back in the program: each leads through a table that the program fills.
.macro callback name index
.globl \name
.hidden \name
.type \name,@function
\name:
    jmp *towline_tch_callbacks+8*\index(%rip)
.size \name, .-\name
.endm
.text
callback tch_write_stream_destructor 0
callback tch_write_stream_write 1
callback tch_read_stream_destructor 2
callback tch_read_stream_stream_position 3
callback tch_read_stream_seek_start 4
callback tch_read_stream_seek_end 5
callback tch_read_stream_read 6
.bss
.p2align 3
.globl towline_tch_callbacks
.protected towline_tch_callbacks
.type towline_tch_callbacks,@object
.size towline_tch_callbacks, 56
towline_tch_callbacks:
.zero 56
.section .note.GNU-stack,"",@progbits
