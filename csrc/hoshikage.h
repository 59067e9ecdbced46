/*
 * The whole native surface of Hoshikage: all that Python can call.
 *
 * Compiled as C++ by csrc/ and read as C by CFFI (after the preprocessor, with HSK_CDEF defined).
 *
 * Conventions
 *   - Every call that can fail returns an hsk_status, takes an hsk_error last and never lets a C++ exception out.
 *   - *_new and *_load give a handle to the caller, *_free takes it back and accepts NULL.
 *   - A handle keeps what it was made from alive: handles may be freed in any order.
 *   - Text is bytes plus length (UTF-8 where it is meant for people); an hsk_text belongs to the caller, who frees it.
 *   - A handle is used by one thread at a time, except for the calls marked "any thread".
 *   - Rich values (messages, sampling parameters, descriptions) cross as JSON, tokens as int32_t.
 */
#ifndef HOSHIKAGE_H
#define HOSHIKAGE_H

#ifndef HSK_CDEF
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
#define HSK_NOEXCEPT noexcept
extern "C" {
#else
#define HSK_NOEXCEPT
#endif

typedef enum hsk_status {
    HSK_OK = 0,
    HSK_INVALID_ARGUMENT = 1,  /* a value the caller gave is wrong; the message names it */
    HSK_MODEL_LOAD_FAILED = 2, /* the file is not a model or adapter that can be used; the message is llama.cpp's reason */
    HSK_OUT_OF_MEMORY = 3,     /* an allocation failed, or was refused because it could not succeed */
    HSK_CANCELLED = 4,         /* the call was cancelled from another thread */
    HSK_CONTEXT_FULL = 5,      /* the KV cache has no room for the batch; nothing was changed */
    HSK_UNSUPPORTED = 6,       /* this model or build cannot do it */
    HSK_TEMPLATE_FAILED = 7,   /* the chat template refused the messages */
    HSK_INVALID_GRAMMAR = 8,   /* a grammar or JSON schema could not be compiled */
    HSK_INTERNAL = 9,          /* anything else that llama.cpp or the C++ runtime reported */
    HSK_DEAD_END = 10          /* the grammar leaves no token to choose: the vocabulary cannot spell what has to come */
} hsk_status;

typedef struct hsk_error {
    int32_t status;     /* an hsk_status */
    char message[2048]; /* NUL-terminated UTF-8, cut at a character */
} hsk_error;

typedef struct hsk_text {
    char *data;
    size_t n_bytes;
} hsk_text;

typedef struct hsk_load hsk_load;         /* a running load, seen from another thread */
typedef struct hsk_model hsk_model;       /* weights and vocabulary */
typedef struct hsk_lora hsk_lora;         /* a LoRA adapter of a model */
typedef struct hsk_chat hsk_chat;         /* a chat template */
typedef struct hsk_parser hsk_parser;     /* takes generated text apart */
typedef struct hsk_sampler hsk_sampler;   /* a sampler chain with its grammar and history */
typedef struct hsk_context hsk_context;   /* KV cache, compute buffers and threads */
typedef struct hsk_embedder hsk_embedder; /* the same, for embeddings instead of text */

void hsk_text_free(hsk_text *text) HSK_NOEXCEPT;

/* ---- Library ---------------------------------------------------------------------------------------------------- */

/* What was built, and what it finds here: {"llama_cpp": {...}, "backends": [...], "cpu_features": [...]} */
int32_t hsk_system_info_get(hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* The GPUs that llama.cpp takes when it is not told otherwise: [{"name", "description", "free_bytes", "total_bytes"}]. It wakes them up. */
int32_t hsk_gpus_get(hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* Threads that compute is best spread over: physical cores this process may use. */
int32_t hsk_thread_count_default(void) HSK_NOEXCEPT;

/* llama.cpp's log goes to a ring of the last 512 lines. level is ggml's: 1 debug, 2 info, 3 warn, 4 error; 0 keeps nothing. Any thread. */
void hsk_log_level_set(int32_t level) HSK_NOEXCEPT;

/* Takes the oldest line of the ring: *level and its text; *level is 0 when the ring is empty. Any thread. */
int32_t hsk_log_take(int32_t *level, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* ---- Parameters ------------------------------------------------------------------------------------------------- */

/* So many tokens of a step may keep their logits, besides the last of each sequence and guesses. */
enum { HSK_LOGITS_MAX = 32 };

typedef struct hsk_context_params {
    uint32_t n_ctx;          /* tokens the KV cache holds, over all sequences */
    uint32_t n_batch;        /* tokens one step may compute */
    uint32_t n_ubatch;       /* tokens the backend computes at once */
    uint32_t n_seq_max;      /* sequences alive at once */
    uint32_t n_draft_max;    /* guessed tokens in a step, over all sequences; their logits are kept too */
    int32_t n_threads;       /* for decode */
    int32_t n_threads_batch; /* for prefill */
    int32_t flash_attention; /* 1 on, 0 off, -1 where the backend supports it */
    char kv_type_k[16];      /* ggml's names: "f16", "q8_0", ... */
    char kv_type_v[16];
} hsk_context_params;

enum { HSK_DEVICES_MAX = 16 };         /* that one model may be spread over; llama.cpp's limit */
enum { HSK_RPC_SERVERS_BYTES = 4352 }; /* 16 names of hosts of any length, with ports */

/* How a model is spread over several devices; llama.cpp's numbers. Its "row" (2) is of backends that are not built here. */
typedef enum hsk_split_mode {
    HSK_SPLIT_NONE = 0,  /* on `main_gpu` alone */
    HSK_SPLIT_LAYER = 1, /* whole layers, one device after the other */
    HSK_SPLIT_TENSOR = 3 /* a part of each layer on each device, computed at the same time */
} hsk_split_mode;

typedef struct hsk_model_params {
    int32_t n_gpu_layers;   /* layers in GPU memory, the output counted as one; negative: all; 0 leaves the GPU alone */
    int32_t fits_layers;    /* where n_gpu_layers is negative and there is a GPU: only as many as fit beside the context `fit` */
    hsk_context_params fit; /* read only with fits_layers */
    int32_t split_mode;     /* an hsk_split_mode */
    int32_t main_gpu;       /* with HSK_SPLIT_NONE: which of the devices */
    int32_t use_mmap;       /* map the file instead of reading it */
    int32_t vocab_only;     /* tokenizer, template and metadata only; leaves the GPU alone */
    int32_t no_weights;     /* the same with all that the file says of its layers: it has to be whole, but no weights are read */
    int32_t check_tensors;  /* look for NaN and infinity in every tensor */

    /* Shares of the devices, in any unit; all 0: by their free memory. */
    float tensor_split[HSK_DEVICES_MAX];

    /* "host:port,host:port": RPC servers whose devices take part, before the GPUs here. Whoever gives them has seen them answer: llama.cpp
     * ends the process where it cannot reach one. */
    char rpc_servers[HSK_RPC_SERVERS_BYTES];
} hsk_model_params;

void hsk_context_params_default(hsk_context_params *params) HSK_NOEXCEPT;
void hsk_model_params_default(hsk_model_params *params) HSK_NOEXCEPT;

/* ---- Model ------------------------------------------------------------------------------------------------------ */

int32_t hsk_load_new(hsk_load **out, hsk_error *error) HSK_NOEXCEPT;
void hsk_load_free(hsk_load *load) HSK_NOEXCEPT;
float hsk_load_progress_get(const hsk_load *load) HSK_NOEXCEPT; /* 0..1. Any thread. */
void hsk_load_cancel(hsk_load *load) HSK_NOEXCEPT;              /* the load ends with HSK_CANCELLED. Any thread. */

/* *params has afterwards how many layers are in GPU memory, 0 without a GPU, and the shares of the devices where they were fitted. */
int32_t hsk_model_load(const char *path, hsk_model_params *params, hsk_load *load, hsk_model **out,
                       hsk_error *error) HSK_NOEXCEPT;
void hsk_model_free(hsk_model *model) HSK_NOEXCEPT;

/* {"arch", "name", "description", "n_params", "size_bytes", "n_ctx_train", "n_embd", "n_layer", "n_head", "n_head_kv", "n_vocab",
 *  "vocab_type", "n_token_bytes_max", "quantisation", "chat_template", "bos", "eos", "eot", "add_bos", "has_encoder", "has_decoder", "is_recurrent",
 *  "is_hybrid", "n_swa", "metadata": {key: value as text}} */
int32_t hsk_model_info_get(const hsk_model *model, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* Writes at most capacity tokens and always the number needed. Any thread. */
int32_t hsk_tokenize(const hsk_model *model, const char *text, size_t n_bytes, int32_t add_special, int32_t parse_special,
                     int32_t *tokens, size_t capacity, size_t *n_tokens, hsk_error *error) HSK_NOEXCEPT;
int32_t hsk_detokenize(const hsk_model *model, const int32_t *tokens, size_t n_tokens, int32_t remove_special,
                       int32_t unparse_special, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* The bytes one token stands for, which need not be whole characters; special tokens are empty unless `special`. Any thread. */
int32_t hsk_token_bytes_get(const hsk_model *model, int32_t token, int32_t special, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* Whether text can be cut after this special token: what follows is then tokenized (add_special 0) as it is within the whole. */
int32_t hsk_token_is_border_get(const hsk_model *model, int32_t token, int32_t *is_border, hsk_error *error) HSK_NOEXCEPT;

/* The tokens around what is filled in: before the prefix, before the suffix, before the middle; HSK_UNSUPPORTED without them. */
int32_t hsk_infill_tokens_get(const hsk_model *model, int32_t *prefix, int32_t *suffix, int32_t *middle,
                              hsk_error *error) HSK_NOEXCEPT;

/* Writes 1 for each token that ends a generation, 0 for others; is_end has room for n_vocab bytes. */
int32_t hsk_end_tokens_get(const hsk_model *model, uint8_t *is_end, size_t n_vocab, hsk_error *error) HSK_NOEXCEPT;

/* ---- Adapters --------------------------------------------------------------------------------------------------- */

/* Loads a LoRA adapter for a model, and changes nothing: contexts are made with it. HSK_MODEL_LOAD_FAILED if it cannot be used with it. */
int32_t hsk_lora_load(const hsk_model *model, const char *path, hsk_lora **out, hsk_error *error) HSK_NOEXCEPT;
void hsk_lora_free(hsk_lora *lora) HSK_NOEXCEPT;

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

/* Bytes a model file and a context on it would take, computed without allocating them, the GPUs first and the host last:
 * [{"name", "description", "free_bytes", "total_bytes", "model_bytes", "context_bytes", "compute_bytes"}] */
int32_t hsk_memory_estimate_get(const char *path, const hsk_model_params *model_params, const hsk_context_params *params,
                                hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* ---- Other machines --------------------------------------------------------------------------------------------- */

/* The version of llama.cpp's RPC protocol: major << 8 | minor. */
int32_t hsk_rpc_version(void) HSK_NOEXCEPT;

/* What hsk_rpc_serve offers: the GPUs, or else the CPU. [{"name", "description", "free_bytes", "total_bytes"}] */
int32_t hsk_rpc_offer_get(hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* Lets others compute here, one client at a time; returns only when it fails. It takes over this process: it prints to stdout, and
 * warnings go to stderr. endpoint: "a.b.c.d:port"; cache_dir: where large tensors are kept, or NULL. Whoever connects may do anything. */
int32_t hsk_rpc_serve(const char *endpoint, const char *cache_dir, int32_t n_threads, hsk_error *error) HSK_NOEXCEPT;

/* ---- Chat ------------------------------------------------------------------------------------------------------- */

/* template_text NULL: the model's own. A model without one gets llama.cpp's default (ChatML). */
int32_t hsk_chat_new(const hsk_model *model, const char *template_text, hsk_chat **out, hsk_error *error) HSK_NOEXCEPT;
void hsk_chat_free(hsk_chat *chat) HSK_NOEXCEPT;

/* {"source", "is_explicit", "supports_thinking", "caps": {...}} */
int32_t hsk_chat_info_get(const hsk_chat *chat, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* request: {"messages": [...OpenAI...], "tools"?, "tool_choice"?: "auto"|"required"|"none", "parallel_tool_calls"?, "json_schema"?,
 *           "add_generation_prompt"?, "continue_final_message"?, "enable_thinking"?, "reasoning_format"?, "chat_template_kwargs"?: {...}}
 * out: {"prompt", "grammar", "grammar_lazy", "grammar_triggers", "preserved_tokens", "stops", "generation_prompt",
 *       "thinking_start_tag", "thinking_end_tags", "parser": {what hsk_parser_new takes}} */
int32_t hsk_chat_render(const hsk_chat *chat, const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* A parser of generated text, from the "parser" of hsk_chat_render. It depends on nothing else. */
int32_t hsk_parser_new(const char *parser, size_t n_bytes, hsk_parser **out, hsk_error *error) HSK_NOEXCEPT;
void hsk_parser_free(hsk_parser *parser) HSK_NOEXCEPT;

/* Splits generated text into {"role", "content", "reasoning_content"?, "tool_calls"?, "rest": what follows the end of the
 * format}; null where it is not of the parser's format (or nested so deep that it cannot be parsed): whatever may follow if is_partial, as it stands otherwise. Any thread. */
int32_t hsk_parser_parse(const hsk_parser *parser, const char *text, size_t n_bytes, int32_t is_partial, hsk_text *out,
                         hsk_error *error) HSK_NOEXCEPT;

/* request: {"tools"?: [...OpenAI...], "parallel_tool_calls"?, "is_required"?, "json_schema"?}
 * out: an arena for an answer of text, calls (<tool_call>{"name", "arguments"}</tool_call>), or JSON of the schema. Its schema parsers are
 * called "tool-NAME-schema" and "response-format-schema". */
int32_t hsk_parser_arena(const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* request: {"arena": a parser's, "schemas": {name of a schema parser: JSON schema}, "is_lazy"?: only what its triggers start}
 * out: GBNF for what the arena parses. */
int32_t hsk_parser_grammar(const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* A JSON schema as GBNF. */
int32_t hsk_schema_to_grammar(const char *schema, size_t n_bytes, hsk_text *out, hsk_error *error) HSK_NOEXCEPT;

/* ---- Sampler ---------------------------------------------------------------------------------------------------- */

/* params: JSON, the keys of hoshikage_core.sampling.SamplingParams, those of a rendered chat that concern its grammar and its
 * reasoning block (see hoshikage_core.sampling.new_sampler), and "thinking_budget". The randomness of each token depends on the seed and on how many
 * tokens were accepted before it, never on a running generator; only mirostat and adaptive_p keep llama.cpp's generator and state. */
int32_t hsk_sampler_new(const hsk_model *model, const char *params, size_t n_bytes, hsk_sampler **out,
                        hsk_error *error) HSK_NOEXCEPT;
void hsk_sampler_free(hsk_sampler *sampler) HSK_NOEXCEPT;

/* Tells the sampler tokens it did not choose: is_generated 0 for a prompt (penalties see it, grammar does not). */
int32_t hsk_sampler_accept(hsk_sampler *sampler, const int32_t *tokens, size_t n_tokens, int32_t is_generated,
                           hsk_error *error) HSK_NOEXCEPT;

/* ---- Context ---------------------------------------------------------------------------------------------------- */

/* The weights are the model's with each adapter's change, times its scale, added. */
int32_t hsk_context_new(const hsk_model *model, const hsk_context_params *params, const hsk_lora *const *loras,
                        const float *scales, size_t n_loras, hsk_context **out, hsk_error *error) HSK_NOEXCEPT;
void hsk_context_free(hsk_context *context) HSK_NOEXCEPT;

/* What one sequence contributes to a step, and what it gets back. */
typedef struct hsk_slot {
    int32_t seq_id;        /* 0..n_seq_max-1 */
    int32_t pos;           /* position of tokens[0]; must follow what the sequence holds */
    const int32_t *tokens; /* the caller's, read during the call */
    int32_t n_tokens;      /* at least 1 */
    int32_t n_draft;       /* the last so many of them are guesses; they need a sampler, and a token before them */
    int32_t n_logits;      /* keep the logits after the last so many tokens, not counting guesses */
    hsk_sampler *sampler;  /* samples and accepts the next token; NULL: none */
    int32_t n_accepted;    /* out: how many guesses are what was sampled in their place; the sequence holds no others */
    int32_t token;         /* out: the token sampled after those, -1 if there is none */
    int32_t status;        /* out: an hsk_status; not HSK_OK if this slot's sampler failed (the error has the last message) */
} hsk_slot;

/* One batched decode of all slots, then sampling. On failure no slot has moved: the sequences hold what they held before
 * (where the memory cannot go back it loses the sequence instead; that of a recurrent model, all sequences, where the step
 * had several slots: ask hsk_sequence_end_get). */
int32_t hsk_step(hsk_context *context, hsk_slot *slots, size_t n_slots, hsk_error *error) HSK_NOEXCEPT;

/* Prepares hsk_guess. Guesses are what followed the last n_ngram tokens where they stood before; or, with a draft model, what that
 * makes of the text, as long as it is at least p_min sure: HSK_UNSUPPORTED where it has another vocabulary, or a memory that cannot be cut. draft_params may be NULL
 * without one; it gets as many threads as the context. */
int32_t hsk_drafting_start(hsk_context *context, int32_t n_ngram, float p_min, const hsk_model *draft_model,
                           const hsk_context_params *draft_params, hsk_error *error) HSK_NOEXCEPT;

/* Guesses how a sequence goes on. Its tokens are the first n_kept of those it had at the last call, and these.
 * Writes at most n_max guesses; none where there is nothing to go by, or a draft model has yet to read more of the text: with each
 * call it reads a batch. */
int32_t hsk_guess(hsk_context *context, int32_t seq_id, size_t n_kept, const int32_t *tokens, size_t n_tokens, int32_t n_max,
                  int32_t *guesses, int32_t *n_guesses, hsk_error *error) HSK_NOEXCEPT;

/* Lets the threads sleep until the next step. After one they look out for another, for some milliseconds. */
void hsk_context_rest(hsk_context *context) HSK_NOEXCEPT;

/* Makes the running step, or else the next one, end with HSK_CANCELLED. Any thread. */
void hsk_context_interrupt(hsk_context *context) HSK_NOEXCEPT;

/* A number that grows while a step computes, on the CPU many times a step, elsewhere at its end. Any thread. */
uint64_t hsk_context_progress_get(const hsk_context *context) HSK_NOEXCEPT;

/* Samples and accepts one more token from the logits the last step kept for the sequence. */
int32_t hsk_sample(hsk_context *context, int32_t seq_id, hsk_sampler *sampler, int32_t *token, hsk_error *error) HSK_NOEXCEPT;

/* Copies the logits the last step kept for the sequence; n_vocab floats. */
int32_t hsk_logits_copy(hsk_context *context, int32_t seq_id, float *logits, size_t n_vocab, hsk_error *error) HSK_NOEXCEPT;

/* Natural log-probabilities, before any sampler, of the n_top likeliest tokens (most likely first) and of `token` (if not -1), by the
 * logits that the last step kept n_back tokens before the last of the sequence. */
int32_t hsk_logprobs_get(hsk_context *context, int32_t seq_id, int32_t n_back, int32_t token, float *token_logprob,
                         int32_t *top_tokens, float *top_logprobs, size_t n_top, hsk_error *error) HSK_NOEXCEPT;

/* Goes back to where a sequence held its first n positions; *n_held is n afterwards, or less where it holds less. Where the model's
 * memory cannot go back to there (a window that has moved on, a recurrent state) the sequence is empty and *n_held 0. */
int32_t hsk_sequence_cut(hsk_context *context, int32_t seq_id, int32_t n, int32_t *n_held, hsk_error *error) HSK_NOEXCEPT;

/* The fewest first positions that hsk_sequence_cut can go back to without losing all: 1 where it can go back to any. */
int32_t hsk_sequence_reach_get(hsk_context *context, int32_t seq_id, int32_t *n, hsk_error *error) HSK_NOEXCEPT;

/* `to` holds the first n positions of `from` afterwards, in the same cells of the KV cache: they take no room until both have been
 * removed. Models whose memory cannot be cut at any point need the bytes of a checkpoint that was saved where `from` had n positions;
 * others need none (NULL). HSK_UNSUPPORTED where the memory cannot be shared, HSK_CONTEXT_FULL where there is no room for the
 * checkpoint: `to` is empty then. */
int32_t hsk_sequence_copy(hsk_context *context, int32_t from, int32_t to, int32_t n, const char *bytes, size_t n_bytes,
                          hsk_error *error) HSK_NOEXCEPT;

/* What of a sequence cannot be cut, a window or a state, as bytes. */
int32_t hsk_checkpoint_size_get(hsk_context *context, int32_t seq_id, size_t *n_bytes, hsk_error *error) HSK_NOEXCEPT;
int32_t hsk_checkpoint_save(hsk_context *context, int32_t seq_id, char *out, size_t n_bytes, hsk_error *error) HSK_NOEXCEPT;

/* Goes back to where a sequence held its first n positions and a checkpoint was saved. HSK_CONTEXT_FULL where there is no room for it:
 * the sequence is empty then. */
int32_t hsk_checkpoint_restore(hsk_context *context, int32_t seq_id, int32_t n, const char *bytes, size_t n_bytes,
                               hsk_error *error) HSK_NOEXCEPT;

/* What a sequence holds, as bytes: how many, and the bytes themselves. They are for a context of the same model, parameters and build. */
int32_t hsk_sequence_size_get(hsk_context *context, int32_t seq_id, size_t *n_bytes, hsk_error *error) HSK_NOEXCEPT;
int32_t hsk_sequence_save(hsk_context *context, int32_t seq_id, char *out, size_t n_bytes, hsk_error *error) HSK_NOEXCEPT;

/* Puts them in place of what a sequence holds. HSK_CONTEXT_FULL where there is no room for them: the sequence is empty then. */
int32_t hsk_sequence_restore(hsk_context *context, int32_t seq_id, const char *bytes, size_t n_bytes,
                             hsk_error *error) HSK_NOEXCEPT;

/* The position after the last one the sequence holds; 0 when empty. */
int32_t hsk_sequence_end_get(hsk_context *context, int32_t seq_id, int32_t *end, hsk_error *error) HSK_NOEXCEPT;

/* ---- Embeddings ------------------------------------------------------------------------------------------------- */

/* How the vectors of an input's tokens become one; llama.cpp's and GGUF's numbers. */
typedef enum hsk_pooling {
    HSK_POOLING_UNSPECIFIED = -1, /* as the model's file says */
    HSK_POOLING_NONE = 0,         /* not at all: a vector for each token */
    HSK_POOLING_MEAN = 1,
    HSK_POOLING_CLS = 2,  /* the first token's */
    HSK_POOLING_LAST = 3, /* the last token's */
    HSK_POOLING_RANK = 4  /* the scores of a classifier on top */
} hsk_pooling;

typedef struct hsk_embedder_info {
    int32_t n_ctx;    /* tokens of one input at most */
    int32_t n_embd;   /* floats of one vector */
    int32_t pooling;  /* an hsk_pooling; where neither the caller nor the file says one: last, or mean for an encoder */
    int32_t is_whole; /* an input is computed in one piece, because each token sees all others */
} hsk_embedder_info;

typedef struct hsk_input {
    const int32_t *tokens; /* the caller's, read during the call */
    int32_t n_tokens;      /* from 1 to n_ctx */
} hsk_input;

/* Where each token sees all others, n_ctx is at most what the model was trained with, and so many tokens are computed at once.
 * Adapters as for hsk_context_new. */
int32_t hsk_embedder_new(const hsk_model *model, const hsk_context_params *params, int32_t pooling, const hsk_lora *const *loras,
                         const float *scales, size_t n_loras, hsk_embedder **out, hsk_embedder_info *info,
                         hsk_error *error) HSK_NOEXCEPT;
void hsk_embedder_free(hsk_embedder *embedder) HSK_NOEXCEPT;

/* Embeds at most n_seq_max inputs that have n_ctx tokens together, and writes the first n_dims floats of each vector, vector
 * after vector; with `normalize` each of them has the length 1 (scores stay as they are). */
int32_t hsk_embed(hsk_embedder *embedder, const hsk_input *inputs, size_t n_inputs, int32_t normalize, int32_t n_dims,
                  float *vectors, size_t n_floats, hsk_error *error) HSK_NOEXCEPT;

/* Makes the running hsk_embed, or else the next one, end with HSK_CANCELLED. Any thread. */
void hsk_embedder_interrupt(hsk_embedder *embedder) HSK_NOEXCEPT;

/* As hsk_context_progress_get. Any thread. */
uint64_t hsk_embedder_progress_get(const hsk_embedder *embedder) HSK_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
