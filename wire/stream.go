package wire

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// Stream sends in as JSON and returns the answer's body as it comes, without a bound of its length or, but for that of ctx, of its time. The caller closes it.
func (c *Client) Stream(ctx context.Context, method, url string, in any) (io.ReadCloser, http.Header, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, nil, NewProblem(CodeInternal, "encode request to %s: %v", url, err).WithCause(err)
	}
	req, err := c.request(ctx, method, url, JSONType, body)
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, transportProblem(ctx, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp.Body, resp.Header, nil
	}
	defer resp.Body.Close()
	data, err := c.readBody(resp)
	if err != nil {
		return nil, nil, transportProblem(ctx, err)
	}
	return nil, nil, decodeProblem(resp, data)
}
