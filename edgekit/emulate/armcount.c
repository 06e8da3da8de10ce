/* QEMU TCG plugin: executed A64 instructions by class, written out whenever the guest makes the marker's syscall.
 *
 * The guest calls syscall(0x45444745, tag), a number that no kernel has. Each call appends a line to the file of the
 * plugin's argument `out`: the tag, how many threads the guest has had, then what all of them have executed since
 * their start, by class in the order of a64.h.
 *
 * PLUGIN_API is the version of the plugin interface: 1 for QEMU 6 to 8, 2 for 9.0, 3 from 9.1 on. What is used of it
 * is declared here, because distributions do not ship qemu-plugin.h.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a64.h"

#define MARKER 0x45444745 /* "EDGE" */
#define THREADS 256       /* threads share a row of counters beyond this */
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void translated_cb(plugin_id, struct qemu_plugin_tb *);
typedef void executed_cb(unsigned vcpu, void *userdata);
typedef void syscall_cb(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t);
enum { WITHOUT_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated_cb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_cb *, int flags, void *userdata);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
#if PLUGIN_API >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *to, size_t size);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#endif

EXPORT int qemu_plugin_version = PLUGIN_API;

static uint64_t executed[THREADS][A64_CLASSES];
static unsigned threads = 1;
static FILE *out;

static uint32_t word_of(const struct qemu_plugin_insn *instruction)
{
    uint32_t word = 0;
#if PLUGIN_API >= 3
    qemu_plugin_insn_data(instruction, &word, sizeof word);
#else
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#endif
    return word;
}

static void on_execution(unsigned vcpu, void *block)
{
    const uint32_t *counts = block;

    if (vcpu >= threads)
        threads = vcpu + 1;
    for (int class = 0; class < A64_CLASSES; class++)
        executed[vcpu % THREADS][class] += counts[class];
}

/* Lives as long as QEMU: it may throw a translation away and come back to it. */
static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    uint32_t *counts = calloc(A64_CLASSES, sizeof *counts);

    if (!counts)
        abort();
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
        counts[a64_classify(word_of(qemu_plugin_tb_get_insn(block, i)))]++;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_execution, WITHOUT_REGISTERS, counts);
}

static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t tag, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != MARKER)
        return;
    fprintf(out, "%llu %u", (unsigned long long)tag, threads);
    for (int class = 0; class < A64_CLASSES; class++) {
        uint64_t sum = 0;
        for (int thread = 0; thread < THREADS; thread++)
            sum += executed[thread][class];
        fprintf(out, " %llu", (unsigned long long)sum);
    }
    fprintf(out, "\n");
    fflush(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out) {
        fprintf(stderr, "armcount: needs out=FILE, a file that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
