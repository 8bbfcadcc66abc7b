#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "protocol/cancel_key.h"
#include "protocol/secret.h"

using namespace bezel::protocol;
using namespace std::string_literals;

namespace {

struct ServerMade {
  const char* what;
  std::string password;
  const char* verifier;
};

// What PostgreSQL 15 stored for these passwords.
const ServerMade kServerMade[] = {
    {"ASCII", "pencil",
     "SCRAM-SHA-256$4096:0858wpS2NnycGRcuyBPtiA==$OBeS+eh+Yn5SwkeSSv2gVFHi2OTJhEN/y7uBOdblwWc=:"
     "lZl5GBZHWNKJe5XrOJpbzOEKhrn7sDwgs5CLYjLqlTs="},
    {"soft hyphen", "I\xc2\xadX",
     "SCRAM-SHA-256$4096:eCsbH32QOM0M3j16JC77BA==$xreW1EmLtZd27LQD/Hql34CV6yvPYmV0xS4LRcxCqAQ=:"
     "zNQLkyhvbDPrFLKFr/0Zo90Jmqyl1LgLzmY8uLmSYQA="},
    {"Roman numeral", "\xe2\x85\xa8",
     "SCRAM-SHA-256$4096:A1z/FRFdqShk0Lb5zvZ1cw==$R+R1AxFkKa+//+AYsm3OhCDxFKYA7Ppq0Qlk8I5br1A=:"
     "oSe3YK3t0XI6FAgpa+K1HP2i2PiYwJ6ADRzBhMNuwqU="},
    {"left-to-right with an Arabic ligature", "\xc2\xaa\xef\xb7\xba x",
     "SCRAM-SHA-256$4096:qhY6lz50uTag7Ul3yeEFrQ==$i0xjyNo517clRLcZtQUyRptFeKwJWCGGusRFP3SU4/U=:"
     "dvGpMduKXGJK0MkRrCU44eDRpHSYZworircCbClem7s="},
    {"control and unassigned character", "pa\x01\xcd\xb8",
     "SCRAM-SHA-256$4096:t8UnupGf8a1s/HYEAoFQyw==$J2FMTWNikT/X9WXdG1Cb+X4VpftO/m+LsCY0voNP2Pw=:"
     "LQUJf0SPFh/38ENk+ovdUSq9T5Y6wScsJ/TSpCNhK1g="},
    {"right-to-left ending in a digit", "\xd8\xa7\x31",
     "SCRAM-SHA-256$4096:HXZvXO/akfogXa4NGLUuCA==$ZiLjmMlfUruWN+Kioq2t6OmGlsfrLf7Wx7JuWjUqRVc=:"
     "3IV1JtIbBOm8aOfFK4E1m5Yj1qXpvTzPXaDVF2Z0kpo="},
    {"other spaces", "\xc2\xa0nb\xe3\x80\x80sp",
     "SCRAM-SHA-256$4096:C15i/mRXMhQK2EjhLQUiqw==$8trt6eq72GUFoBPqvqfr7kyOKuvTc/hGoRNy5HRHSN8=:"
     "r365rl0BskIBJneg+tLxtBmJhq7L3D85ZQuCnTrITa0="},
    {"combining marks", "e\xcc\x81\xe1\xba\x9b\xcc\xa3",
     "SCRAM-SHA-256$4096:TvpTHpZpSLr0DiunWjcysQ==$4gK/SKZYNIkbQ2Eyapkao2OxbxbJKpmQvZawgKyVyEU=:"
     "inebyotel60Wb+pFQOoVq5m+Ux39Wc8jW24sqmLav8Q="},
    {"nothing left", "\xc2\xad",
     "SCRAM-SHA-256$4096:zZ2Xl8m0bd438l+Eqi9lLg==$/zAvIya6drv4dawYNyTlHtcNGkKULzUP5O9CmqLPOrw=:"
     "9Yqqo+cx2XFpb3bdgSGltExTyVbRX6HOgYTBa4Q29DI="},
    {"emoji", "\xf0\x9f\x98\x80 emoji",
     "SCRAM-SHA-256$4096:boBT5FBM0+m32QZNz4GqtQ==$VYXno9N96+Ahns4ymUqp75P6FUJtrW/peyH44sbOO4w=:"
     "wuzP/kyuFuzbNgriLMmekaNXMW3kJ7R6lqAUKcJnSWc="},
    {"long s",
     "\xc5\xbf"
     "ecret",
     "SCRAM-SHA-256$4096:kpN7l//byHVIaYtn6We5gQ==$R8lxRAHnaZhs8fbE9Kh2dxuxCrdWvvbXn4BYPHF5t6E=:"
     "ZN8BGWjLpfUORnwQcrCKXQBQar1gvccmqcx4rB7BqvQ="},
};

constexpr std::array<unsigned char, 4> kSalt = {0x01, 0x80, 0x00, 0xff};

}  // namespace

TEST_CASE("secrets: the kind is told by the form") {
  CHECK(parse_secret("md58bbf3f45673bf67d02e4214911f3417f").kind == SecretKind::md5);
  CHECK(parse_secret(kServerMade[0].verifier).kind == SecretKind::scram_sha_256);
  CHECK(parse_secret(kServerMade[0].verifier).verifier.iterations == 4096);
  for (const std::string& text :
       {""s, "pencil"s, "md5"s, "md58bbf3f45673bf67d02e4214911f3417"s, "md58bbf3f45673bf67d02e4214911f3417f0"s,
        "md58BBF3F45673BF67D02E4214911F3417F"s, "MD58bbf3f45673bf67d02e4214911f3417f"s,
        "md58bbf3f45673bf67d02e4214911f3417g"s, "SCRAM-SHA-256$"s, "SCRAM-SHA-256$4096:a$b:c"s}) {
    CHECK(parse_secret(text).kind == SecretKind::plain);
    CHECK(parse_secret(text).text == text);
  }
}

TEST_CASE("secrets: passwords against what PostgreSQL stored for them") {
  for (const ServerMade& made : kServerMade) {
    CAPTURE(made.what);
    const StoredSecret secret = parse_secret(made.verifier);
    REQUIRE(secret.kind == SecretKind::scram_sha_256);
    CHECK(verify_password(secret, "any", made.password));
    CHECK_FALSE(verify_password(secret, "any", made.password + "x"));
    const auto keys = derive_keys(made.password, secret.verifier.salt, secret.verifier.iterations);
    CHECK(build_verifier(make_verifier(*keys, secret.verifier.salt, 4096)) == made.verifier);
  }
  CHECK(verify_password(parse_secret("md58bbf3f45673bf67d02e4214911f3417f"), "m", "pencil"));
  CHECK_FALSE(verify_password(parse_secret("md58bbf3f45673bf67d02e4214911f3417f"), "n", "pencil"));
  CHECK(verify_password(parse_secret("md5456e2830e46e4da5ddb169bb5510acd9"), "us er", "p\xc3\xa4ss"));
  CHECK(verify_password(parse_secret("pencil"), "m", "pencil"));
}

TEST_CASE("secrets: what never matches") {
  CHECK_FALSE(verify_password(parse_secret(""), "u", ""));
  CHECK_FALSE(verify_password(parse_secret("pencil"), "u", ""));
  CHECK_FALSE(verify_password(parse_secret("pencil"), "u", "penci"));
  CHECK_FALSE(verify_password(parse_secret("pencil"), "u", "pencil "));
  // A hash is not a password.
  CHECK_FALSE(
      verify_password(parse_secret("md58bbf3f45673bf67d02e4214911f3417f"), "m", "md58bbf3f45673bf67d02e4214911f3417f"));
  CHECK_FALSE(verify_password(parse_secret(kServerMade[0].verifier), "a", kServerMade[0].verifier));
  // A verifier whose iterations would take minutes is not computed.
  std::string slow = kServerMade[0].verifier;
  slow.replace(14, 4, "2147483647");
  REQUIRE(parse_secret(slow).kind == SecretKind::scram_sha_256);
  CHECK_FALSE(verify_password(parse_secret(slow), "a", "pencil"));
}

TEST_CASE("md5: hashes and challenges") {
  CHECK(md5_of("pencil", "m") == "md58bbf3f45673bf67d02e4214911f3417f");
  CHECK(md5_of("", "") == "md5d41d8cd98f00b204e9800998ecf8427e");
  const auto response = md5_challenge_response("md58bbf3f45673bf67d02e4214911f3417f"s, kSalt);
  REQUIRE(response);
  CHECK(response->size() == 35);
  CHECK(*response == *md5_of("8bbf3f45673bf67d02e4214911f3417f", "\x01\x80\x00\xff"s));
  CHECK_FALSE(md5_challenge_response("pencil"s, kSalt));

  const StoredSecret hash = parse_secret("md58bbf3f45673bf67d02e4214911f3417f");
  const StoredSecret plain = parse_secret("pencil");
  CHECK(md5_challenge_response(hash, "ignored", kSalt) == response);
  CHECK(md5_challenge_response(plain, "m", kSalt) == response);
  CHECK(verify_md5_response(hash, "m", kSalt, *response));
  CHECK(verify_md5_response(plain, "m", kSalt, *response));
  CHECK_FALSE(verify_md5_response(plain, "n", kSalt, *response));
  CHECK_FALSE(verify_md5_response(hash, "m", {1, 2, 3, 4}, *response));
  CHECK_FALSE(verify_md5_response(hash, "m", kSalt, ""));
  CHECK_FALSE(verify_md5_response(hash, "m", kSalt, "pencil"));
  CHECK_FALSE(verify_md5_response(parse_secret(kServerMade[0].verifier), "m", kSalt, *response));
}

TEST_CASE("secrets of cancel keys are a connection's own, and the process's") {
  CancelSecrets secrets("the process's");
  CancelSecrets same("the process's");
  CancelSecrets others("another's");
  const std::string secret = secrets.of(7, 32);
  CHECK(secret.size() == 32);
  CHECK(secret.substr(0, 16) != secret.substr(16));
  CHECK(secrets.of(7, 4) == secret.substr(0, 4));
  CHECK(same.of(7, 32) == secret);
  CHECK(others.of(7, 4) != secret.substr(0, 4));
  CHECK(secrets.of(8, 4) != secret.substr(0, 4));
}

TEST_CASE("comparison in constant time compares") {
  CHECK(equal_in_constant_time("", ""));
  CHECK(equal_in_constant_time("abc", "abc"));
  CHECK_FALSE(equal_in_constant_time("abc", "abd"));
  CHECK_FALSE(equal_in_constant_time("abc", "ab"));
  CHECK_FALSE(equal_in_constant_time("ab", "abc"));
  CHECK_FALSE(equal_in_constant_time("abc\0"s, "abc"));
  CHECK_FALSE(equal_in_constant_time("", "a"));
  CHECK_FALSE(equal_in_constant_time("a", ""));
  CHECK_FALSE(equal_in_constant_time("a\0b"s, "a\0c"s));
}
