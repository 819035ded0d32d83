variable "name" {
  description = "The name of the API connector, as the portal shows it."
  type        = string
}

variable "url" {
  description = "The URL of the connector at the bridge: https://HOST/connectors/NAME."
  type        = string

  validation {
    condition     = startswith(var.url, "https://") && !strcontains(var.url, "code=")
    error_message = "It must begin with https://. A key (code=) would lie in the state: see README.md."
  }
}

variable "flow" {
  description = "The user flow: B2X_1_NAME in a workforce tenant, B2C_1_NAME in Azure AD B2C."
  type        = string

  validation {
    condition     = can(regex("^B2[XC]_1_", var.flow))
    error_message = "It must begin with B2X_1_ or B2C_1_."
  }
}

variable "step" {
  description = "The step, as the bridge calls it."
  type        = string
  default     = "before-create"

  validation {
    condition     = contains(["after-federation", "before-create", "before-token"], var.step)
    error_message = "It must be after-federation, before-create or, in Azure AD B2C only, before-token."
  }
}

variable "attach" {
  description = "Whether the user flow calls the connector. Only once its credential is set."
  type        = bool
  default     = false
}
