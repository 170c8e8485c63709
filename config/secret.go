package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// maxSecretBytes bounds what is read from a secret's file.
const maxSecretBytes = 4 << 10

// Redacted stands for a secret wherever one would be printed.
const Redacted = "(redacted)"

// Secret is a password or token. It prints as Redacted, however it is printed; Reveal gives it.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns Redacted, or "" for no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return `config.Secret("` + s.String() + `")` }

// MarshalText keeps encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue keeps logs from showing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// ReadPassword returns the account's password: that of the environment, else the content of its file. None at all is an error.
func (a Account) ReadPassword() (string, error) {
	password, err := readSecret(a.Password, a.PasswordFile)
	if err == nil && password == "" {
		err = errors.New("neither its password_file nor the environment gives one (is --config missing?)")
	}
	if err != nil {
		return "", fmt.Errorf("read password of database user %q: %w", a.User, err)
	}
	return password, nil
}

// ReadInternalToken returns the token of the calls between roles, or "" if none is configured.
func (a Auth) ReadInternalToken() (string, error) {
	token, err := readSecret(a.InternalToken, a.InternalTokenFile)
	if err != nil {
		return "", fmt.Errorf("read internal token: %w", err)
	}
	return token, nil
}

func readSecret(value Secret, path string) (string, error) {
	if value != "" || path == "" {
		return value.Reveal(), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" || len(data) > maxSecretBytes || strings.ContainsAny(secret, "\r\n\x00") {
		return "", fmt.Errorf("%s must hold one line of 1 to %d bytes", path, maxSecretBytes)
	}
	return secret, nil
}
