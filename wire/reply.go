package wire

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a peer may ask for.
const maxRetryAfter = time.Hour

// maxForeignDetail bounds how much of an answer that is no problem document is quoted.
const maxForeignDetail = 200

// decodeProblem makes the error of an answer outside of 200–299: the problem document in it, or one derived from the status.
func decodeProblem(resp *http.Response, body []byte) *Problem {
	p := &Problem{}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != ProblemType || json.Unmarshal(body, p) != nil || p.Code == "" {
		p = foreignProblem(resp, body)
	}
	p.Status = resp.StatusCode
	p.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return p
}

// foreignProblem describes an answer that something between or beside our processes gave: a load balancer, another server.
func foreignProblem(resp *http.Response, body []byte) *Problem {
	detail := strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), maxForeignDetail)])), "?")
	p := NewProblem(codeOfStatus(resp.StatusCode), "status %d: %s", resp.StatusCode, detail)
	p.Title = http.StatusText(resp.StatusCode)
	return p
}

func codeOfStatus(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return CodeBadRequest
	case http.StatusUnauthorized:
		return CodeUnauthorized
	case http.StatusForbidden:
		return CodeForbidden
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusMethodNotAllowed:
		return CodeMethod
	case http.StatusConflict:
		return CodeConflict
	case http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case http.StatusUnsupportedMediaType:
		return CodeMediaType
	case http.StatusUnprocessableEntity:
		return CodeUnprocessable
	case http.StatusTooManyRequests:
		return CodeOverloaded
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return CodeUnavailable
	case http.StatusGatewayTimeout:
		return CodeDeadline
	}
	return CodeInternal
}

// parseRetryAfter reads the header in either of its forms, seconds or a date. What can't be read, or lies in the past, is 0.
func parseRetryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil {
		if seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return max(0, time.Duration(seconds)*time.Second)
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(maxRetryAfter, max(0, at.Sub(now)))
}
