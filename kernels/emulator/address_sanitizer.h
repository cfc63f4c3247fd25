// Whether this is compiled with AddressSanitizer, and how a function does without.
#pragma once

#if defined(__clang__)
#if __has_feature(address_sanitizer)
#define ACCRUE_EMULATOR_ADDRESS_SANITIZER
#endif
#define ACCRUE_EMULATOR_NO_ADDRESS_SANITIZER __attribute__((no_sanitize("address")))
#else
#if defined(__SANITIZE_ADDRESS__)
#define ACCRUE_EMULATOR_ADDRESS_SANITIZER
#endif
#define ACCRUE_EMULATOR_NO_ADDRESS_SANITIZER __attribute__((no_sanitize_address))
#endif
