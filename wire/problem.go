// Package wire is the contract between Quipu's processes: typed requests and answers, error codes, the binary form of
// Apply, and the HTTP client and server plumbing (sub-packages httpserver and auth) that carry them.
//
// Codes, not texts, cross processes: branch on Problem.Code. All values are plain data; Client is safe for concurrent use.
package wire

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code names what went wrong.
type Code string

// The codes that processes branch on.
const (
	CodeBadRequest    Code = "bad_request"            // 400: the request can't be understood; names the field
	CodeUnauthorized  Code = "unauthorized"           // 401: no token, or an unknown one
	CodeForbidden     Code = "forbidden"              // 403: the token lacks the scope
	CodeNotFound      Code = "not_found"              // 404
	CodeUnknownType   Code = "unknown_type"           // 404: no such event type
	CodeConflict      Code = "conflict"               // 409
	CodeMethod        Code = "method_not_allowed"     // 405: the path exists, the method doesn't
	CodeTooLarge      Code = "too_large"              // 413
	CodeMediaType     Code = "unsupported_media_type" // 415
	CodeUnprocessable Code = "unprocessable"          // 422: understood, but not offered
	CodeFenced        Code = "fenced"                 // 409: the epoch is not the partition's current one
	CodeOffsetMoved   Code = "offset_moved"           // 409: the stored checkpoint is not the expected one; Checkpoint holds it
	CodeMisrouted     Code = "misrouted"              // 409: this shard does not own the partition
	CodeTermChanged   Code = "term_changed"           // 503: the shard's primary changed meanwhile; retry
	CodeUnapplicable  Code = "unapplicable"           // 422: these rows can never be applied (a sum out of range …)
	CodeOverloaded    Code = "overloaded"             // 429: a bound was reached; retry after RetryAfter
	CodeThrottled     Code = "throttled"              // 429: the shard suffers; retry after RetryAfter, not elsewhere: its proxies guard the same databases
	CodeLogFull       Code = "log_full"               // 503
	CodeWindowFull    Code = "window_full"            // 429: the de-duplication window is at its bound
	CodeUnavailable   Code = "unavailable"            // 503: a part is away; retry
	CodeDeadline      Code = "deadline"               // 504: the time ran out; the outcome of a write is unknown
	CodeTrimmed       Code = "trimmed"                // 410: the log no longer has this offset
	CodeBeyondEnd     Code = "beyond_end"             // 409: the log does not have this offset yet
	CodeConservation  Code = "conservation"           // 409: what would be dropped and what would replace it don't have the same sums
	CodeSchema        Code = "schema"                 // 503: the database's schema is not one this build knows
	CodeInternal      Code = "internal"               // 500

	CodeColdUnavailable Code = "cold_unavailable" // 503: cold storage, which holds a part of the answer, is away; retry
	CodeColdMissing     Code = "cold_missing"     // 500: an object that holds a part of the answer is not in cold storage
	CodeColdDamaged     Code = "cold_damaged"     // 500: such an object can't be read
)

// ProblemType is the media type of an error answer.
const ProblemType = "application/problem+json"

// Problem is an error answer, an RFC 9457 problem document, and the error that Client returns for it.
type Problem struct {
	Type       string        `json:"type"`  // "https://quipu.dev/problems/<code>"
	Title      string        `json:"title"` // the status in words
	Status     int           `json:"status"`
	Code       Code          `json:"code"`
	Detail     string        `json:"detail"`                // for people
	Field      string        `json:"field,omitempty"`       // the parameter or field at fault
	ByteOffset *int64        `json:"byte_offset,omitempty"` // where a malformed body stopped making sense
	Checkpoint *Checkpoint   `json:"checkpoint,omitempty"`  // with offset_moved and fenced
	RetryAfter time.Duration `json:"-"`                     // sent as the Retry-After header, whole seconds rounded up
	Cause      error         `json:"-"`                     // what led to it, for errors.Is and logs; never crosses processes
}

// statusOf maps each code to its HTTP status.
func statusOf(code Code) int {
	switch code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound, CodeUnknownType:
		return http.StatusNotFound
	case CodeConflict, CodeFenced, CodeOffsetMoved, CodeMisrouted, CodeBeyondEnd, CodeConservation:
		return http.StatusConflict
	case CodeTrimmed:
		return http.StatusGone
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeMediaType:
		return http.StatusUnsupportedMediaType
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeUnprocessable, CodeUnapplicable:
		return http.StatusUnprocessableEntity
	case CodeOverloaded, CodeThrottled, CodeWindowFull:
		return http.StatusTooManyRequests
	case CodeTermChanged, CodeLogFull, CodeUnavailable, CodeColdUnavailable, CodeSchema:
		return http.StatusServiceUnavailable
	case CodeDeadline:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// NewProblem returns the problem of a code with its detail.
func NewProblem(code Code, format string, args ...any) *Problem {
	status := statusOf(code)
	return &Problem{
		Type: "https://quipu.dev/problems/" + string(code), Title: http.StatusText(status), Status: status,
		Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// WithField names the field at fault and returns p.
func (p *Problem) WithField(field string) *Problem { p.Field = field; return p }

// WithRetryAfter sets when to try again and returns p.
func (p *Problem) WithRetryAfter(d time.Duration) *Problem { p.RetryAfter = d; return p }

// WithCheckpoint attaches the stored checkpoint and returns p.
func (p *Problem) WithCheckpoint(c Checkpoint) *Problem { p.Checkpoint = &c; return p }

// WithCause attaches the error that led to p and returns p.
func (p *Problem) WithCause(err error) *Problem { p.Cause = err; return p }

func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// Unwrap returns the cause, if there is one.
func (p *Problem) Unwrap() error { return p.Cause }

// CodeOf returns the code of the first Problem in err's chain, or "" if there is none.
func CodeOf(err error) Code {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code
	}
	return ""
}

// CodeLabel names the outcome of a call in metrics: "ok", the code of its Problem, or internal.
func CodeLabel(err error) string {
	if err == nil {
		return "ok"
	}
	if code := CodeOf(err); code != "" {
		return string(code)
	}
	return string(CodeInternal)
}

// Retryable tells whether the same request may succeed elsewhere or later. A deadline counts: Apply and reads are idempotent.
func Retryable(code Code) bool {
	switch code {
	case CodeUnavailable, CodeColdUnavailable, CodeOverloaded, CodeTermChanged, CodeDeadline, CodeSchema:
		return true
	}
	return false
}
