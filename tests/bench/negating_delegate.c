/* An external delegate for tests, after the public C interface of TFLite (lite/core/c/common.h, external_delegate_interface.h).

   It takes chains of NEG on float32, or nothing, or fails, as its options say:
     take=all|none       refuse=WORDS (is not created)    fail=1 (cannot be applied)
     crash=1             plan=PATH (writes the nodes that are left to run, takes nothing)                                  */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEG = 59, OK = 0, ERROR = 1 };
typedef struct { int size; int data[]; } Ints;
typedef struct { int type; void *data; Ints *dims; float scale; int zero; int allocation; size_t bytes;
                 const void *mapped; const char *name; struct Delegate *delegate; int handle; char stale, variable;
                 int scheme; void *params; void *sparsity; const Ints *signature; } Tensor;
typedef struct { Ints *inputs, *outputs, *intermediates, *temporaries; void *user; } Node;
typedef struct Context Context;
typedef struct { void *(*init)(Context *, const char *, size_t); void (*free)(Context *, void *);
                 int (*prepare)(Context *, Node *); int (*invoke)(Context *, Node *); void *profiling;
                 int32_t code; const char *name; int version; void *external, *async; uint64_t inplace; } Registration;
struct Context { size_t count; int (*plan)(Context *, Ints **); Tensor *tensors; void *impl;
                 int (*resize)(Context *, Tensor *, Ints *); void *report, *add;
                 int (*node)(Context *, int, Node **, Registration **);
                 int (*replace)(Context *, Registration, const Ints *, struct Delegate *); };
typedef struct { struct Delegate *delegate; Ints *nodes, *inputs, *outputs; } Part;
struct Delegate { void *data; int (*prepare)(Context *, struct Delegate *); void *copy_from, *copy_to, *release;
                  int64_t flags; void *builder; int take, fail; char plan[4096]; };

static void *begin(Context *context, const char *buffer, size_t length) {
    int *chain = malloc(sizeof *chain);
    (void)context, (void)length, *chain = ((const Part *)buffer)->nodes->size;
    return chain;
}

static void end(Context *context, void *chain) { (void)context, free(chain); }

static int ready(Context *context, Node *node) {
    Tensor *from = &context->tensors[node->inputs->data[0]], *to = &context->tensors[node->outputs->data[0]];
    Ints *shape = malloc(sizeof *shape + from->dims->size * sizeof(int));
    memcpy(shape, from->dims, sizeof *shape + from->dims->size * sizeof(int));
    return context->resize(context, to, shape);
}

static int run(Context *context, Node *node) {
    Tensor *from = &context->tensors[node->inputs->data[0]], *to = &context->tensors[node->outputs->data[0]];
    float sign = *(int *)node->user % 2 ? -1.0f : 1.0f;
    for (size_t i = 0; i < from->bytes / sizeof(float); i++) ((float *)to->data)[i] = sign * ((float *)from->data)[i];
    return OK;
}

static int apply(Context *context, struct Delegate *delegate) {
    Ints *plan, *taken;
    Node *node;
    Registration *kind, ours = {begin, end, ready, run, NULL, 0, "NegatingDelegate", 1, NULL, NULL, 0};
    if (delegate->fail || context->plan(context, &plan)) return ERROR;
    FILE *file = delegate->plan[0] ? fopen(delegate->plan, "w") : NULL;
    taken = calloc(1, sizeof *taken + plan->size * sizeof(int));
    for (int i = 0; i < plan->size; i++) {
        context->node(context, plan->data[i], &node, &kind);
        if (file) fprintf(file, "%d %d\n", plan->data[i], kind->code);
        if (delegate->take && kind->code == NEG) taken->data[taken->size++] = plan->data[i];
    }
    if (file) fclose(file), delegate->plan[0] = 0; /* the main graph comes first */
    int status = taken->size ? context->replace(context, ours, taken, delegate) : OK;
    free(taken);
    return status;
}

struct Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    struct Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->prepare = apply, delegate->take = 1;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(keys[i], "crash")) abort();
        if (!strcmp(keys[i], "fail")) delegate->fail = 1;
        if (!strcmp(keys[i], "take")) delegate->take = !strcmp(values[i], "all");
        if (!strcmp(keys[i], "plan")) delegate->take = 0, delegate->flags = 1, snprintf(delegate->plan, sizeof delegate->plan, "%s", values[i]);
        if (!strcmp(keys[i], "refuse")) return report(values[i]), free(delegate), NULL;
    }
    return delegate;
}

void tflite_plugin_destroy_delegate(struct Delegate *delegate) { free(delegate); }
