import { getToken, parameters } from "./page";

const { tokens, tenant, stream } = parameters;

export const options = {
  kind: "job" as const,
  ...(tokens ? { getToken } : {}),
  ...(tenant ? { tenant } : {}),
  ...(stream ? { stream } : {}),
};
